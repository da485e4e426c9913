/** What was dropped, as files: folders are read to their ends, and what systems hide in them is left out. */

export async function filesOf(dropped: DataTransfer): Promise<File[]> {
  // asked for before the first wait: afterwards the browser has forgotten them
  const entries = [...dropped.items].map((one) => one.webkitGetAsEntry());
  if (!entries.some((one) => one?.isDirectory)) return [...dropped.files];
  const found = await Promise.all(entries.map((one) => (one ? within(one) : [])));
  return found.flat();
}

async function within(entry: FileSystemEntry): Promise<File[]> {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    return [await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: File[][] = [];
  for (;;) {
    // at most a hundred at a time, until there are none
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found.flat();
    for (const one of some) found.push(await within(one));
  }
}
