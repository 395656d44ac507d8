#include "hadal/io/safetensors.h"

#include <array>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "hadal/io/test_files.h"

namespace hadal::io {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string refusal_of(const std::string& file) {
  std::string message = error_of(
      ErrorKind::kCheckpoint, [&] { static_cast<void>(parse_safetensors(bytes_of(file), "x.safetensors")); });
  EXPECT_TRUE(message.starts_with("x.safetensors\n")) << message;
  return message;
}

std::string refusal_of(std::string_view header, size_t data_bytes) {
  return refusal_of(safetensors_image(header, data_bytes));
}

// One tensor "a" with these fields.
std::string one_tensor(std::string_view fields) {
  return fmt::format(R"({{"a":{{{}}}}})", fields);
}

constexpr std::string_view kTwoTensors =
    R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[24,28]},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";

TEST(ParseSafetensors, ReadsTensorsInTheOrderOfTheirBytes) {
  const std::string file = safetensors_image(kTwoTensors, 28);
  const auto tensors = parse_safetensors(bytes_of(file), "x");
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].dtype, DType::kF32);
  EXPECT_EQ(tensors[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(tensors[0].data.size(), 24U);
  EXPECT_EQ(tensors[1].name, "b");
  EXPECT_EQ(tensors[1].data.size(), 4U);
  EXPECT_EQ(tensors[1].data[0], std::byte{24});  // points into the image, where safetensors_image counts
}

TEST(ParseSafetensors, ReadsEveryDtype) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kI8, DType::kU8,
                            DType::kI32, DType::kI64}) {
    const auto bytes = static_cast<size_t>(3 * size_of(dtype));
    const std::string file = safetensors_image(
        one_tensor(fmt::format(R"("dtype":"{}","shape":[3],"data_offsets":[0,{}])", to_string(dtype), bytes)),
        bytes);
    const auto tensors = parse_safetensors(bytes_of(file), "x");
    ASSERT_EQ(tensors.size(), 1U);
    EXPECT_EQ(tensors[0].dtype, dtype);
  }
}

TEST(ParseSafetensors, AcceptsWhatTheFormatAllows) {
  const std::array<std::pair<std::string, size_t>, 9> cases = {{
      {"{}", 0},
      {"{}      ", 0},
      {R"({"__metadata__":{}})", 0},
      {R"({"__metadata__":{"format":"pt","x":""}})", 0},
      {one_tensor(R"("dtype":"U8","shape":[],"data_offsets":[0,1])"), 1},  // a scalar
      {one_tensor(R"("shape":[1,1,1,1,1,1,1,1],"data_offsets":[0,1],"dtype":"U8")"), 1},
      {one_tensor(R"("dtype":"F32","shape":[0,7],"data_offsets":[0,0])"), 0},  // an empty tensor
      {one_tensor(R"("dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0])"), 0},
      {"{ \"a\" :\n{\"dtype\":\"U8\",\"shape\":[ 1 ],\"data_offsets\":[0 , 1]} }", 1},
  }};
  for (const auto& [header, data_bytes] : cases) {
    const std::string file = safetensors_image(header, data_bytes);
    EXPECT_NO_THROW(static_cast<void>(parse_safetensors(bytes_of(file), "x"))) << header;
  }
}

TEST(ParseSafetensors, PlacesEmptyTensorsBetweenOthers) {
  const std::string file = safetensors_image(
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]},"e":{"dtype":"F32","shape":[0],"data_offsets":[2,2]},)"
      R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
      4);
  const auto tensors = parse_safetensors(bytes_of(file), "x");
  ASSERT_EQ(tensors.size(), 3U);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[1].name, "e");
  EXPECT_TRUE(tensors[1].data.empty());
  EXPECT_EQ(tensors[2].name, "b");
}

TEST(ParseSafetensors, RefusesFilesWithoutAWholeHeader) {
  EXPECT_TRUE(contains(refusal_of(std::string()), "found     0 bytes"));
  EXPECT_TRUE(contains(refusal_of(std::string("\x02\0\0\0\0\0\0", 7)), "found     7 bytes"));
  EXPECT_TRUE(contains(refusal_of(std::string("\x03\0\0\0\0\0\0\0{}", 10)), "cut off"));
  EXPECT_TRUE(contains(refusal_of(std::string("\0\0\0\0\0\0\0\0", 8)), "begins with {"));
  EXPECT_TRUE(contains(refusal_of(std::string(8, '\xff')), "found     18446744073709551615 bytes"));
  EXPECT_TRUE(contains(refusal_of(std::string("version https://git-lfs.github.com/spec/v1\noid sha256:")),
                       "damaged"));
}

TEST(ParseSafetensors, RefusesAHeaderBeyondTheLimitEvenWhenTheFileHasIt) {
  std::string header = "{}";
  header.resize(static_cast<size_t>(kMaxHeaderBytes), ' ');
  EXPECT_NO_THROW(static_cast<void>(parse_safetensors(bytes_of(safetensors_image(header, 0)), "x")));
  header += ' ';
  EXPECT_TRUE(contains(refusal_of(header, 0), "at most 100000000 bytes"));
}

TEST(ParseSafetensors, RefusesBytesAroundTheObject) {
  for (const std::string_view header :
       {" {}", "\n{}", "\xef\xbb\xbf{}", "{}\n", "{}\t ", "[]", "null", "{} x", "   "}) {
    EXPECT_TRUE(contains(refusal_of(header, 0), "begins with { and ends with }")) << header;
  }
  EXPECT_TRUE(contains(refusal_of("{}{}", 0), "JSON"));
  EXPECT_TRUE(contains(refusal_of(std::string("{}\0}", 4)), "x"));
  EXPECT_TRUE(contains(refusal_of(std::string_view("{}\0}", 4), 0), "NUL"));
}

TEST(ParseSafetensors, RefusesWhatIsNoJson) {
  for (const std::string_view header :
       {"{\"a\"}", "{,}", "{\"a\":}", "{/**/}", "{\"\xff\":{}}", "{'a':{}}", "{\"a\n\":{}}",
        "{\"\\ud800\":{}}", "{\"__metadata__\":{}", "{\"__metadata__\":{},}"}) {
    EXPECT_TRUE(contains(refusal_of(header, 0), "JSON      byte")) << header;
  }
}

struct Refusal {
  const char* fields;
  size_t data_bytes;
  const char* reason;
};

TEST(ParseSafetensors, RefusesTensorsOutsideTheSchema) {
  const std::array<Refusal, 29> cases = {{
      {R"("shape":[1],"data_offsets":[0,1])", 1, "no dtype"},
      {R"("dtype":"U8","data_offsets":[0,1])", 1, "no shape"},
      {R"("dtype":"U8","shape":[1])", 1, "no data_offsets"},
      {R"("dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1])", 1, "dtype twice"},
      {R"("dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1])", 1, "shape twice"},
      {R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1])", 1, "data_offsets twice"},
      {R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1)", 1, "found     \"x\""},
      {R"("dtype":"F64","shape":[1],"data_offsets":[0,8])", 8, "found     F64"},
      {R"("dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1])", 1, "found     F8_E5M2"},
      {R"("dtype":"BOOL","shape":[1],"data_offsets":[0,1])", 1, "found     BOOL"},
      {R"("dtype":"f32","shape":[1],"data_offsets":[0,4])", 4, "found     f32"},
      {R"("dtype":8,"shape":[1],"data_offsets":[0,1])", 1, "dtype as a text"},
      {R"("dtype":null,"shape":[1],"data_offsets":[0,1])", 1, "found     null"},
      {R"("dtype":"U8","shape":1,"data_offsets":[0,1])", 1, "shape as an array"},
      {R"("dtype":"U8","shape":{},"data_offsets":[0,1])", 1, "found     an object"},
      {R"("dtype":"U8","shape":[[1]],"data_offsets":[0,1])", 1, "found     an array"},
      {R"("dtype":"U8","shape":["1"],"data_offsets":[0,1])", 1, "found     \"1\""},
      {R"("dtype":"U8","shape":[true],"data_offsets":[0,1])", 1, "found     true"},
      {R"("dtype":"U8","shape":[-1],"data_offsets":[0,1])", 1, "found     -1"},
      {R"("dtype":"U8","shape":[-0],"data_offsets":[0,0])", 0, "found     0"},
      {R"("dtype":"U8","shape":[1.0],"data_offsets":[0,1])", 1, "found     1.0"},
      {R"("dtype":"U8","shape":[1e0],"data_offsets":[0,1])", 1, "found     1e0"},
      {R"("dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1])", 1,
       "found     9223372036854775808"},
      {R"("dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1])", 1,
       "found     18446744073709551616"},
      {R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1])", 1, "at most 8"},
      {R"("dtype":"U8","shape":[1],"data_offsets":[0])", 1, "found     1 of them"},
      {R"("dtype":"U8","shape":[1],"data_offsets":[])", 1, "found     0 of them"},
      {R"("dtype":"U8","shape":[1],"data_offsets":[0,1,1])", 1, "more numbers"},
      {R"("dtype":"U8","shape":[1],"data_offsets":[-1,0])", 1, "found     -1"},
  }};
  for (const Refusal& refusal : cases) {
    const std::string message = refusal_of(one_tensor(refusal.fields), refusal.data_bytes);
    EXPECT_TRUE(contains(message, refusal.reason)) << refusal.fields;
    EXPECT_TRUE(contains(message, "\n  tensor    a\n")) << refusal.fields;
  }
}

TEST(ParseSafetensors, RefusesSizesThatDoNotAgree) {
  const std::array<Refusal, 7> cases = {{
      {R"("dtype":"F32","shape":[2],"data_offsets":[0,7])", 7, "expected  8 bytes = [2] x F32"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[0,9])", 9, "found     data_offsets [0, 9]"},
      {R"("dtype":"U8","shape":[2],"data_offsets":[2,0])", 2, "expected  2 bytes"},
      {R"("dtype":"U8","shape":[2],"data_offsets":[0,9223372036854775807])", 2, "expected  2 bytes"},
      {R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])", 0, "more than 2^63"},
      {R"("dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4])", 4, "more than 2^63"},
      {R"("dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0])", 0, "more than 2^63"},
  }};
  for (const Refusal& refusal : cases) {
    EXPECT_TRUE(contains(refusal_of(one_tensor(refusal.fields), refusal.data_bytes), refusal.reason))
        << refusal.fields;
  }
}

TEST(ParseSafetensors, RefusesOtherShapesOfHeader) {
  const std::array<Refusal, 8> cases = {{
      {R"({"a":1})", 0, "an object with dtype"},
      {R"({"a":[]})", 0, "found     an array"},
      {R"({"__metadata__":"x"})", 0, "an object of texts"},
      {R"({"__metadata__":{"n":1}})", 0, "found     1"},
      {R"({"__metadata__":{"n":{}}})", 0, "found     an object"},
      {R"({"__metadata__":{"n":null}})", 0, "found     null"},
      {R"({"__metadata__":{"n":"1","n":"2"}})", 0, "\"n\" twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "\"__metadata__\" twice"},
  }};
  for (const Refusal& refusal : cases) {
    EXPECT_TRUE(contains(refusal_of(refusal.fields, refusal.data_bytes), refusal.reason)) << refusal.fields;
  }
}

// The published polyglot: one parser takes the first entry of a repeated name, another one the last.
TEST(ParseSafetensors, RefusesATensorNamedTwice) {
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  EXPECT_TRUE(contains(refusal_of(header, 4), "tensor    a\n  expected  one entry\n  found     two"));
  EXPECT_TRUE(contains(refusal_of(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                                  R"("\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                                  0),
                       "found     two"));
}

std::string two_tensors(int a_begin, int a_end, int b_begin, int b_end) {
  return fmt::format(R"({{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}},)"
                     R"("b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}})",
                     a_end - a_begin, a_begin, a_end, b_end - b_begin, b_begin, b_end);
}

TEST(ParseSafetensors, RefusesHolesOverlapsAndTails) {
  EXPECT_TRUE(contains(refusal_of(two_tensors(1, 4, 4, 8), 8),
                       "tensor    a\n  expected  data that begins at byte 0"));
  EXPECT_TRUE(contains(refusal_of(two_tensors(0, 4, 5, 8), 8),
                       "found     byte 5: bytes before it belong to no tensor"));
  EXPECT_TRUE(
      contains(refusal_of(two_tensors(0, 4, 3, 8), 8), "found     byte 3: it overlaps another tensor"));
  EXPECT_TRUE(contains(refusal_of(two_tensors(0, 8, 2, 4), 8), "overlaps"));
  EXPECT_TRUE(contains(refusal_of(two_tensors(0, 4, 0, 4), 4), "overlaps"));
  EXPECT_TRUE(
      contains(refusal_of(two_tensors(0, 4, 4, 8), 9), "expected  8 bytes of tensors\n  found     9 bytes"));
  EXPECT_TRUE(contains(refusal_of(two_tensors(0, 4, 4, 8), 7), "is its download complete?"));
  EXPECT_TRUE(contains(refusal_of("{}", 1), "found     1 bytes"));
}

TEST(ParseSafetensors, RefusesTooManyTensors) {
  std::string header = "{";
  for (int64_t i = 0; i < kMaxTensors; ++i) {
    header += fmt::format(R"("{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},)", i);
  }
  header += R"("one more":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})";
  EXPECT_TRUE(contains(refusal_of(header, 0), "at most 1000000 tensors"));
}

TEST(ParseSafetensors, SurvivesDeepNesting) {
  const std::string deep(1'000'000, '[');
  EXPECT_TRUE(contains(refusal_of("{\"a\":" + deep + "}", 0), "found     an array"));
  std::string objects = "{";
  for (int i = 0; i < 100'000; ++i) objects += "\"a\":{";
  EXPECT_TRUE(contains(refusal_of(objects + "}", 0), "tensor    a"));
}

// Names come from the file, and a terminal obeys what it is sent.
TEST(ParseSafetensors, ShowsNamesWithoutControlCharacters) {
  const std::string name = R"(\u001b[2J\n)" + std::string(1000, 'x');
  const std::string message = refusal_of(fmt::format(R"({{"{}":1}})", name), 0);
  EXPECT_TRUE(contains(message, "tensor    ?[2J?xxx"));
  EXPECT_LT(message.size(), 500U);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST(SafetensorsFile, RoundTrip) {
  const TempFolder folder;
  const std::array<float, 6> weights = {0.0F, -1.5F, 2.0F, 3.25F, 1e-30F, 7.0F};
  const std::string codes = "\x01\x7e\x80";
  const std::vector<TensorEntry> tensors = {
      {"layer \"0\"\n\xc3\xa9", DType::kF8E4M3, {3, 1}, bytes_of(codes)},
      {"weights", DType::kF32, {2, 3}, std::as_bytes(std::span(weights))},
      {"empty", DType::kBF16, {0, 4}, {}},
  };
  const std::string path = folder.path("x.safetensors");
  write_safetensors(path, tensors, {{"format", "pt"}, {"quote", "\"\\"}});

  const SafetensorsFile file(path);
  EXPECT_EQ(file.path(), path);
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorEntry& read = file.tensors()[i];
    EXPECT_EQ(read.name, tensors[i].name);
    EXPECT_EQ(read.dtype, tensors[i].dtype);
    EXPECT_EQ(read.shape, tensors[i].shape);
    EXPECT_TRUE(std::ranges::equal(read.data, tensors[i].data));
    EXPECT_EQ(file.find(tensors[i].name), &read);
  }
  EXPECT_EQ(file.find("absent"), nullptr);
}

// A file of three tensors: one of several pieces, an empty one, one that begins at an odd byte.
std::string write_large(const TempFolder& folder, std::string* large) {
  large->resize(3'000'001);
  for (size_t i = 0; i < large->size(); ++i) (*large)[i] = static_cast<char>(i * i >> 7);
  const std::string odd = "odd";
  const std::vector<TensorEntry> tensors = {
      {"large", DType::kU8, {static_cast<int64_t>(large->size())}, bytes_of(*large)},
      {"empty", DType::kBF16, {0, 4}, {}},
      {"odd", DType::kU8, {3}, bytes_of(odd)}};
  std::string path = folder.path("x.safetensors");
  write_safetensors(path, tensors);
  return path;
}

TEST(SafetensorsFile, CopiesItselfIntoMemory) {
  const ThreadPlan two_groups{{{0, {{}, {}}}, {0, {{}}}}};
  for (const ThreadPlan& plan : {unpinned_threads(1), unpinned_threads(3), two_groups}) {
    const TempFolder folder;
    std::string large;
    SafetensorsFile file(write_large(folder, &large));
    const std::vector<std::byte> before(file.bytes().begin(), file.bytes().end());
    ThreadPool pool(plan);
    file.copy_into_memory(pool);
    file.copy_into_memory(pool);                   // the second time it is there
    std::filesystem::resize_file(file.path(), 0);  // whoever still reads the file finds nothing
    EXPECT_TRUE(std::ranges::equal(file.bytes(), before));
    ASSERT_EQ(file.tensors().size(), 3U);
    EXPECT_TRUE(std::ranges::equal(file.find("large")->data, bytes_of(large)));
    EXPECT_TRUE(std::ranges::equal(file.find("odd")->data, bytes_of("odd")));
    EXPECT_EQ(file.path(), folder.path("x.safetensors"));
  }
}

TEST(SafetensorsFile, SaysWhenItCannotBeCopied) {
  const TempFolder folder;
  std::string large;
  SafetensorsFile file(write_large(folder, &large));
  // Page cache of what is cut off is gone, so the header has to stay; the pieces behind it are not there any more.
  std::filesystem::resize_file(file.path(), 1'000'000);
  ThreadPool pool(2);
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kIo, [&] { file.copy_into_memory(pool); }), {file.path(), "shorter"}));
}

TEST(WriteSafetensors, ReplacesAFileAndLeavesNoOther) {
  const TempFolder folder;
  const std::string path = folder.write("x.safetensors", "old");
  write_safetensors(path, {});
  EXPECT_TRUE(SafetensorsFile(path).tensors().empty());
  write_safetensors(path, {}, {{"format", "pt"}});
  const auto files = std::filesystem::directory_iterator(folder.path());
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
  EXPECT_EQ(std::filesystem::file_size(path) % 8, 0U);  // the header is padded, so that the data is aligned
}

TEST(WriteSafetensors, SaysWhereItCouldNotWrite) {
  const TempFolder folder;
  const std::string absent = folder.path("absent/x.safetensors");
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [&] { write_safetensors(absent, {}); }), absent));
  // A folder of that name cannot be replaced by a file; the temporary file must not stay.
  std::filesystem::create_directories(folder.path("taken.safetensors"));
  EXPECT_TRUE(
      contains(error_of(ErrorKind::kIo, [&] { write_safetensors(folder.path("taken.safetensors"), {}); }),
               "cannot be replaced"));
  const auto files = std::filesystem::directory_iterator(folder.path());
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
}

TEST(WriteSafetensors, WritesToADeviceInsteadOfReplacingIt) {
  const TempFolder folder;
  const std::string link = folder.path("full");
  std::filesystem::create_symlink("/dev/full", link);
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [&] { write_safetensors(link, {}); }), "No space left"));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
}

TEST(WriteSafetensors, RefusesTensorsThatItCouldNotReadBack) {
  const TempFolder folder;
  const std::string path = folder.path("x.safetensors");
  const std::string data = "1234";
  const auto write = [&](std::vector<TensorEntry> tensors) {
    return error_of(ErrorKind::kInternal, [&] { write_safetensors(path, tensors); });
  };
  EXPECT_TRUE(contains(write({{"a", DType::kF32, {2}, bytes_of(data)}}), "4 bytes for [2] x F32"));
  EXPECT_TRUE(
      contains(write({{"a", DType::kF32, {1}, bytes_of(data)}, {"a", DType::kF32, {1}, bytes_of(data)}}),
               "tensor a twice"));
  EXPECT_TRUE(contains(write({{"__metadata__", DType::kF32, {1}, bytes_of(data)}}), "__metadata__"));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(SafetensorsWriter, TensorsInAnyOrderAtAlignedPlaces) {
  const TempFolder folder;
  const std::string path = folder.path("x.safetensors"), large(128, 'l'), odd = "odd";
  SafetensorsWriter writer(path, {{"large", DType::kU8, {2, 64}, {}}, {"odd", DType::kU8, {3}, {}}},
                           {{"note", "??"}});
  writer.write("odd", bytes_of(odd));
  EXPECT_FALSE(std::filesystem::exists(path));
  writer.write("large", bytes_of(large));
  writer.commit({{"note", "42"}});
  const SafetensorsFile file(path);
  ASSERT_EQ(file.tensors().size(), 2U);
  EXPECT_EQ(file.tensors()[0].shape, (std::vector<int64_t>{2, 64}));
  EXPECT_EQ((file.tensors()[0].data.data() - file.bytes().data()) % 64, 0);
  EXPECT_TRUE(std::ranges::equal(file.find("large")->data, bytes_of(large)));
  EXPECT_TRUE(std::ranges::equal(file.find("odd")->data, bytes_of(odd)));
  const auto* text = reinterpret_cast<const char*>(file.bytes().data());
  EXPECT_TRUE(contains(std::string(text, file.bytes().size()), R"("note":"42")"));
}

TEST(SafetensorsWriter, HoldsItsCallerToThePlan) {
  const TempFolder folder;
  {
    SafetensorsWriter writer(folder.path("x.safetensors"), {{"a", DType::kF32, {1}, {}}}, {{"note", "??"}});
    EXPECT_TRUE(contains(error_of(ErrorKind::kInternal,
                                  [&] {
                                    writer.commit({{"note", "42"}});
                                  }),
                         "a was not written"));
    const std::string data = "12345";
    EXPECT_TRUE(contains(error_of(ErrorKind::kInternal, [&] { writer.write("a", bytes_of(data)); }),
                         "tensor a: 5 bytes"));
    EXPECT_TRUE(
        contains(error_of(ErrorKind::kInternal, [&] { writer.write("b", bytes_of(data)); }), "tensor b"));
    writer.write("a", bytes_of(data).first(4));
    EXPECT_TRUE(contains(error_of(ErrorKind::kInternal, [&] { writer.write("a", bytes_of(data).first(4)); }),
                         "tensor a"));
    const std::string longer(100, 'x');
    EXPECT_TRUE(contains(error_of(ErrorKind::kInternal,
                                  [&] {
                                    writer.commit({{"note", longer}});
                                  }),
                         "header of"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "no commit, no trace";
}

TEST(SafetensorsFile, SaysThatAFileIsAbsent) {
  EXPECT_TRUE(contains(error_of(ErrorKind::kIo, [] { SafetensorsFile("/absent/x.safetensors"); }),
                       "/absent/x.safetensors"));
}

}  // namespace
}  // namespace hadal::io
