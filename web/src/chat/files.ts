/** Text files for a message. */
import { t } from "../lib/i18n";
import type { Attachment } from "./tree";

const LARGEST = 1024 * 1024; // bytes; more than any context holds

export class FileError extends Error {}

/** The file's text; a FileError if it is too large or no UTF-8. */
export async function readFile(file: File): Promise<Attachment> {
  if (file.size > LARGEST) throw new FileError(t("fileTooLarge", { name: file.name, limit: "1 MB" }));
  const bytes = await file.arrayBuffer();
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (!text.includes("\0")) return { name: file.name, text: text.replace(/\r\n?/g, "\n") };
  } catch {
    // not UTF-8: refused below
  }
  throw new FileError(t("fileNotText", { name: file.name }));
}
