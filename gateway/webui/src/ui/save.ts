/**
 * Saves what an address answers with as a file.
 *
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
