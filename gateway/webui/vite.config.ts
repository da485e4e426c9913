import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/** Writes `.br` and `.gz` beside every asset, so that the gateway never compresses anything itself. */
function precompressed(): Plugin {
  return {
    name: "precompressed",
    apply: "build",
    writeBundle({ dir }) {
      const assets = join(dir ?? "dist", "assets");
      for (const name of readdirSync(assets)) {
        const bytes = readFileSync(join(assets, name));
        writeFileSync(join(assets, `${name}.gz`), gzipSync(bytes, { level: 9 }));
        const params = { [constants.BROTLI_PARAM_QUALITY]: 11 };
        writeFileSync(join(assets, `${name}.br`), brotliCompressSync(bytes, { params }));
      }
    },
  };
}

export default defineConfig({
  base: "/webui/",
  plugins: [react(), precompressed()],
  resolve: { alias: { worker_threads: join(import.meta.dirname, "src/audio/no-threads.ts") } },
  // Nothing is written into the page itself: its policy forbids inline scripts, styles and data.
  build: {
    target: "es2023",
    assetsInlineLimit: 0,
    // in one piece: a style sheet that failed to arrive with its part would not be fetched again
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  // `npm run dev` beside `timbre serve`
  server: { proxy: { "/training": "http://127.0.0.1:8000", "/files": "http://127.0.0.1:8000" } },
});
