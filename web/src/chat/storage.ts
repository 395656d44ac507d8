/** Chats in IndexedDB; in memory where the browser forbids that. */
import type { Chat } from "./tree";

export interface ChatTitle {
  id: string;
  title: string;
  updated: number;
}

const CHATS = "chats";
const TITLES = "titles"; // the list without the text, so that it opens at once

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function finished(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

export class Storage {
  private memory = new Map<string, Chat>();
  private constructor(private database: IDBDatabase | null) {}

  static async open(): Promise<Storage> {
    try {
      const request = indexedDB.open("hadal", 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(CHATS, { keyPath: "id" });
        request.result.createObjectStore(TITLES, { keyPath: "id" });
      };
      const database = await done(request);
      database.onversionchange = () => database.close();
      return new Storage(database);
    } catch {
      return new Storage(null);
    }
  }

  /** False: chats are gone with the tab. */
  get persistent(): boolean {
    return this.database !== null;
  }

  /** Newest first. */
  async list(): Promise<ChatTitle[]> {
    const titles: ChatTitle[] = this.database
      ? await done(this.database.transaction(TITLES).objectStore(TITLES).getAll())
      : [...this.memory.values()].map(({ id, title, updated }) => ({ id, title, updated }));
    return titles.sort((a, b) => b.updated - a.updated);
  }

  async load(id: string): Promise<Chat | undefined> {
    if (!this.database) return this.memory.get(id);
    return done(this.database.transaction(CHATS).objectStore(CHATS).get(id));
  }

  async all(): Promise<Chat[]> {
    if (!this.database) return [...this.memory.values()];
    return done(this.database.transaction(CHATS).objectStore(CHATS).getAll());
  }

  async save(chat: Chat): Promise<void> {
    if (!this.database) {
      this.memory.set(chat.id, chat);
      return;
    }
    const transaction = this.database.transaction([CHATS, TITLES], "readwrite");
    transaction.objectStore(CHATS).put(chat);
    transaction.objectStore(TITLES).put({ id: chat.id, title: chat.title, updated: chat.updated });
    await finished(transaction);
  }

  async remove(id: string): Promise<void> {
    this.memory.delete(id);
    if (!this.database) return;
    const transaction = this.database.transaction([CHATS, TITLES], "readwrite");
    transaction.objectStore(CHATS).delete(id);
    transaction.objectStore(TITLES).delete(id);
    await finished(transaction);
  }

  async clear(): Promise<void> {
    this.memory.clear();
    if (!this.database) return;
    const transaction = this.database.transaction([CHATS, TITLES], "readwrite");
    transaction.objectStore(CHATS).clear();
    transaction.objectStore(TITLES).clear();
    await finished(transaction);
  }
}
