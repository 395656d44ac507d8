import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { en } from "../src/lib/words_en";
import { zh } from "../src/lib/words_zh";

const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();

test("both languages have the same words with the same holes", () => {
  assert.deepEqual(Object.keys(zh), Object.keys(en));
  for (const key of Object.keys(en) as (keyof typeof en)[]) {
    assert.notEqual(zh[key].trim(), "", key);
    assert.deepEqual(holes(zh[key]), holes(en[key]), key);
  }
});

test("every word is used", () => {
  const sources = (readdirSync("src", { recursive: true }) as string[])
    .filter((name) => /\.tsx?$/.test(name) && !/words_/.test(name))
    .map((name) => readFileSync(`src/${name}`, "utf8"))
    .join("\n");
  const unused = Object.keys(en).filter((key) => !sources.includes(`"${key}"`));
  assert.deepEqual(unused, []);
});
