#include "hadal/serve/http_reader.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

using State = HttpReader::State;

constexpr HttpLimits kLimits{.max_header_bytes = 512, .max_fields = 8, .max_body_bytes = 1024};

const std::string kPost = "POST /v1/x?a=1%202&b HTTP/1.1\r\nHost: localhost\r\nX-Name:  value \r\n";

// The status that the bytes end with, however they come: 200 if they are requests.
int status_of(const std::string& bytes, size_t piece = std::string::npos) {
  HttpReader reader(kLimits);
  try {
    for (size_t i = 0; i < bytes.size(); i += std::min(piece, bytes.size())) {
      reader.put(std::string_view(bytes).substr(i, piece));
      while (reader.state() == State::kDone) {
        reader.take();
        reader.put({});
      }
    }
  } catch (const ApiError& e) {
    return e.status();
  }
  return reader.state() == State::kIdle ? 200 : 0;
}

TEST(HttpReader, ReadsARequestHoweverItIsCut) {
  const std::string bodies[] = {
      "Content-Length: 5\r\n\r\nhello",
      "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nA: b\r\n\r\n"};
  for (const std::string& body : bodies) {
    const std::string bytes = kPost + body;
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      HttpReader reader(kLimits);
      EXPECT_EQ(reader.state(), State::kIdle);
      reader.put(bytes.substr(0, cut));
      EXPECT_NE(reader.state(), State::kDone) << cut;
      reader.put(bytes.substr(cut));
      ASSERT_EQ(reader.state(), State::kDone) << cut;
      const HttpRequest request = reader.take();
      EXPECT_EQ(request.method, "POST");
      EXPECT_EQ(request.path, "/v1/x");
      EXPECT_EQ(request.parameter("a"), "1 2");
      EXPECT_EQ(request.parameter("b"), "");
      EXPECT_EQ(request.parameter("c"), std::nullopt);
      EXPECT_EQ(request.field("x-name"), "value");
      EXPECT_EQ(request.body, "hello");
      EXPECT_TRUE(request.keep_alive);
      EXPECT_EQ(reader.state(), State::kIdle);
    }
  }
}

TEST(HttpReader, ReadsOneAfterTheOther) {
  const std::string get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
  HttpReader reader(kLimits);
  reader.put(get + kPost + "Content-Length: 2\r\n\r\n{}" + "garbage\r\n\r\n");
  ASSERT_EQ(reader.state(), State::kDone);
  EXPECT_EQ(reader.take().path, "/a");
  reader.put({});
  ASSERT_EQ(reader.state(), State::kDone);
  EXPECT_EQ(reader.take().body, "{}");  // what comes behind it is no reason to lose it
  EXPECT_THROW(reader.put({}), ApiError);
}

TEST(HttpReader, RefusesWhatTwoCouldReadInTwoWays) {
  const std::string chunks = "2\r\n{}\r\n0\r\n\r\n";
  const std::vector<std::string> bad = {
      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
      "Content-Length: 2, 2\r\n\r\n{}",
      "Content-Length: +2\r\n\r\n{}",
      "Transfer-Encoding: xchunked\r\n\r\n" + chunks,
      "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks,
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
      "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
      "Host: again\r\n\r\n",
      "A: b\r\n c\r\n\r\n",
      "A: b\r\n\tc\r\n\r\n",
      "A: b\nC: d\r\n\r\n",
      "A : b\r\n\r\n",
  };
  for (const std::string& rest : bad) {
    EXPECT_EQ(status_of(kPost + rest), 400) << rest;
    EXPECT_EQ(status_of(kPost + rest, 1), 400) << rest;
  }
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n\r\n"), 400);  // whose is it?
  EXPECT_EQ(status_of("GET / HTTP/1.0\r\n\r\n"), 200);
  EXPECT_EQ(status_of("GET /a%0ab HTTP/1.0\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks), 400);
  // A fold in a body is none.
  EXPECT_EQ(status_of(kPost + "Content-Length: 5\r\n\r\na\r\n b"), 200);
}

TEST(HttpReader, HasLimitsWhileItReads) {
  const std::string many(600, 'x');
  const std::string chunked = kPost + "Transfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(status_of("GET /" + many), 431);
  EXPECT_EQ(status_of(kPost + "A: " + many), 431);
  EXPECT_EQ(status_of(kPost + "A: " + many + "\r\n\r\n"), 431);
  std::string fields;
  for (int i = 0; i < 8; ++i) fields += fmt::format("F{}: {}\r\n", i, i);
  EXPECT_EQ(status_of(kPost + fields + "\r\n"), 431);
  EXPECT_EQ(status_of(kPost + "Content-Length: 1025\r\n\r\n"), 413);
  EXPECT_EQ(status_of(chunked + "401\r\n"), 413);
  EXPECT_EQ(status_of(chunked + "1;" + many), 431);
  EXPECT_EQ(status_of(chunked + "0\r\nA: " + many), 431);
  EXPECT_EQ(status_of(kPost + "Content-Length: 1024\r\n\r\n" + std::string(1024, 'x')), 200);
}

TEST(HttpReader, TrailersChangeNothing) {
  HttpReader reader(kLimits);
  reader.put(kPost + "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: evil\r\nAuthorization: Bearer k\r\n\r\n");
  ASSERT_EQ(reader.state(), State::kDone);
  const HttpRequest request = reader.take();
  EXPECT_EQ(request.field("host"), "localhost");
  EXPECT_EQ(request.field("authorization"), "");
}

TEST(HttpReader, SaysWhenTheClientWaitsForLeave) {
  HttpReader reader(kLimits);
  reader.put(kPost + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(reader.state(), State::kBody);
  EXPECT_TRUE(reader.wants_continue());
  EXPECT_FALSE(reader.wants_continue());
  reader.put("{}");
  EXPECT_EQ(reader.take().body, "{}");
}

TEST(HttpReader, KeepsConnectionsAsTheVersionsSay) {
  const auto keeps = [](const std::string& version, const std::string& fields) {
    HttpReader reader(kLimits);
    reader.put("GET / HTTP/" + version + "\r\nHost: h\r\n" + fields + "\r\n");
    return reader.take().keep_alive;
  };
  EXPECT_TRUE(keeps("1.1", ""));
  EXPECT_FALSE(keeps("1.1", "Connection: close\r\n"));
  EXPECT_FALSE(keeps("1.0", ""));
  EXPECT_TRUE(keeps("1.0", "Connection: keep-alive\r\n"));
}

}  // namespace
}  // namespace hadal::serve
