/** What stands in a browser for Node's `worker_threads`, for which wavesurfer.js's spectrogram looks. */
export {};
