import { api, ask } from "../api/client";
import type { LinkRequest } from "../api/schema";

/** Has the browser save an export by itself, straight to the disk, whatever its size. */
export async function saveExport(path: LinkRequest["path"], query: Record<string, string>): Promise<void> {
  const { url } = await ask(api.POST("/training/links", { body: { path, query } }));
  await save(url, "", null);
}

/**
 * Saves what an address answers with as a file.
 *
 * @param name Under which name; empty leaves it to the server.
 * @param fetched How to fetch it where the browser cannot by itself, as with a token; null lets the browser stream it.
 */
export async function save(path: string, name: string, fetched: (() => Promise<Response>) | null): Promise<void> {
  const link = document.createElement("a");
  link.download = name;
  if (fetched) {
    link.href = URL.createObjectURL(await (await fetched()).blob());
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } else {
    link.href = path;
  }
  document.body.append(link);
  link.click();
  link.remove();
}
