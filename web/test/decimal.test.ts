import assert from "node:assert/strict";
import { test } from "node:test";
import { shortDecimal, sumDecimals } from "../src/lib/decimal";

test("sums are exact", () => {
  assert.equal(sumDecimals([]), "0");
  assert.equal(sumDecimals(["0.1", "0.2"]), "0.3");
  assert.equal(sumDecimals(["12345678901234567890.000001", "0.999999"]), "12345678901234567891.000000");
  assert.equal(sumDecimals(["1", "-1.50"]), "-0.50");
  assert.equal(sumDecimals(Array.from({ length: 1000 }, () => "0.001")), "1.000");
  assert.equal(sumDecimals(["x", "2", "NaN"]), "2");
});

test("amounts are shown short, but small ones not as nothing", () => {
  assert.equal(shortDecimal("41.500000"), "41.50");
  assert.equal(shortDecimal("7"), "7.00");
  assert.equal(shortDecimal("0.000000"), "0.00");
  assert.equal(shortDecimal("0.27"), "0.27");
  assert.equal(shortDecimal("0.001234"), "0.00123");
  assert.equal(shortDecimal("-3.14159"), "-3.14");
});
