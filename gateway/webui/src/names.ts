/** Names inside the object store, as people read them. */

export const NAME_PATTERN = /^(?!\.+$)[A-Za-z0-9._-]{1,150}$/;

/** `datasets/my_voice` → `my_voice` */
export function bareName(folder: string): string {
  return folder.replace(/^datasets\//, "");
}

export function folderOf(name: string): string {
  return `datasets/${name}`;
}

/** The name in an address, as `encodeURIComponent` wrote it; null when it is none. */
export function nameIn(address: string): string | null {
  try {
    return decodeURIComponent(address);
  } catch {
    return null;
  }
}

/** Where the page shows a dataset. Datasets in subfolders keep their slashes, encoded. */
export function datasetPath(folder: string): string {
  return `/datasets/${encodeURIComponent(bareName(folder))}`;
}

/** Whether a model is an earlier run that was moved aside when its training began anew. */
export function isAside(model: string): boolean {
  return /\.before-[0-9a-z]+$/.test(model);
}

/** `train/output/my_voice/checkpoints/checkpoint_epoch_100.pth` → `my_voice` */
export function modelOf(checkpoint: string): string {
  return /^train\/output\/(.+)\/checkpoints\//.exec(checkpoint)?.[1] ?? checkpoint;
}

/** … → `epoch 100`, in the language's words */
export function checkpointName(checkpoint: string, epoch: (number: string) => string): string {
  const number = /checkpoint_epoch_(\d+)\.pth$/.exec(checkpoint)?.[1];
  return number ? epoch(number) : (checkpoint.split("/").at(-1) ?? checkpoint);
}
