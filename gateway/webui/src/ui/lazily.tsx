import { type ComponentType, lazy } from "react";

/** A script of the page did not arrive. */
export class Missing extends Error {}

const failed = new Set<() => void>();

/** A part of the page whose script is fetched when it is first shown. */
export function lazily<P extends object>(load: () => Promise<{ default: ComponentType<P> }>): ComponentType<P> {
  const begin = () =>
    lazy(() =>
      load().catch((error: unknown) => {
        failed.add(() => {
          Part = begin();
        });
        throw new Missing(String(error));
      }),
    );
  let Part = begin();
  return (props: P) => <Part {...props} />;
}

/** Lets what did not arrive be fetched anew the next time it is shown: React remembers a failure for ever. */
export function forgetFailures(): void {
  for (const forget of failed) forget();
  failed.clear();
}
