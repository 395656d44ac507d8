/** Server-sent events from a fetch body (EventSource can neither POST nor send a key). */

export interface SseEvent {
  event: string;
  data: string;
}

/**
 * Takes the stream in pieces cut anywhere, even inside a character or between CR and LF, and returns the
 * events that each piece completes. Comments are counted, because a server that sends one is alive but has no
 * answer yet.
 */
export class SseParser {
  comments = 0;
  private decoder = new TextDecoder();
  private rest = "";
  private afterCr = false;
  private event = "";
  private data: string[] = [];

  push(bytes: Uint8Array): SseEvent[] {
    let text = this.decoder.decode(bytes, { stream: true });
    if (text === "") return [];
    if (this.afterCr && text.startsWith("\n")) text = text.slice(1);
    this.afterCr = text === "" ? false : text.endsWith("\r");
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = this.rest + lines[0];
    this.rest = lines.pop() ?? "";
    const events: SseEvent[] = [];
    for (const line of lines) this.line(line, events);
    return events;
  }

  private line(line: string, out: SseEvent[]): void {
    if (line === "") {
      if (this.data.length > 0) out.push({ event: this.event || "message", data: this.data.join("\n") });
      this.event = "";
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) {
      this.comments++;
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.data.push(value);
    else if (field === "event") this.event = value;
  }
}
