#pragma once

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/model/config.h"

// For tests: the configs of the releases under tests/data/configs, with keys changed.
namespace hadal::model {

inline const std::string kConfigs = "tests/data/configs/";

/// tests/data/configs/<name>.json.
inline json release(const std::string& name) {
  return read_json_file(kConfigs + name + ".json", 1 << 20, ErrorKind::kConfig);
}

inline ModelConfig parse(const json& config) {
  return parse_config(config, "config.json");
}

/// The release with some keys replaced: {"/rope_scaling/factor": 1} or, to erase one, {"/n_group": "<absent>"}.
inline json changed(const std::string& name, const std::string& changes) {
  json config = release(name);
  const json values = json::parse(changes);
  for (const auto& [pointer, value] : values.items()) {
    const json::json_pointer where(pointer);
    if (value == "<absent>") {
      config.at(where.parent_pointer()).erase(where.back());
    } else {
      config[where] = value;
    }
  }
  return config;
}

/// What parse says against it.
inline std::string refusal(const json& config) {
  try {
    parse(config);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kConfig);
    return e.what();
  }
  return "(accepted)";
}

/// The message has to name the key in the line where a key is named, and to contain `part`.
inline void expect_refused(const std::string& name, const std::string& changes, const std::string& key,
                           const std::string& part) {
  const std::string message = refusal(changed(name, changes));
  EXPECT_NE(message.find("config.json\n  key       " + key + "\n"), std::string::npos) << changes << "\n"
                                                                                       << message;
  EXPECT_NE(message.find(part), std::string::npos) << changes << "\n" << message;
}

}  // namespace hadal::model
