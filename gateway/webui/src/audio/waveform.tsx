import { type Ref, useEffect, useImperativeHandle, useRef, useState } from "react";
import WaveSurfer from "wavesurfer.js";
import Spectrogram from "wavesurfer.js/plugins/spectrogram";
import { useSpoken } from "../i18n";
import { Button } from "../ui/basics";
import { colour, useTheme } from "../ui/theme";
import { claimPlayback } from "./playback";

/** The gateway lets in the one style that wavesurfer.js writes into its shadow tree, by this. */
export const styleNonce = document.querySelector<HTMLMetaElement>("meta[name=csp-nonce]")?.nonce ?? "";

export interface WaveHandle {
  toggle: () => void;
}

interface WaveProps {
  /** An address, or the audio itself. */
  source: string | Blob;
  label: string;
  height?: number;
  spectrogram?: boolean;
  handle?: Ref<WaveHandle>;
  /** Above 0: play as soon as it is there; another number: once more. */
  play?: number;
  onPlaying?: (now: boolean) => void;
}

/** A waveform that plays: click or arrow keys to seek, and a button beside it. */
export default function Waveform({ source, label, height = 56, spectrogram = false, handle, play = 0, onPlaying }: WaveProps) {
  const { t, f } = useSpoken();
  const { dark } = useTheme();
  const box = useRef<HTMLDivElement>(null);
  const wave = useRef<WaveSurfer | null>(null);
  // asked for before the audio was there
  const wanted = useRef(false);
  const ready = useRef(false);
  const told = useRef(onPlaying);
  told.current = onPlaying;
  const [playing, setPlayingHere] = useState(false);
  const [time, setTime] = useState(0);
  const [duration, setDuration] = useState(0);
  const [failed, setFailed] = useState(false);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the colours of the waveform follow the theme
  useEffect(() => {
    if (!box.current) return;
    const setPlaying = (now: boolean) => {
      setPlayingHere(now);
      told.current?.(now);
    };
    setFailed(false);
    setTime(0);
    ready.current = false;
    const one = WaveSurfer.create({
      container: box.current,
      height,
      waveColor: colour("--wave"),
      progressColor: colour("--wave-played"),
      cursorColor: colour("--accent"),
      barWidth: 2,
      barGap: 1,
      barRadius: 2,
      normalize: true,
      sampleRate: 22050,
      cspNonce: styleNonce,
      plugins: spectrogram
        ? [
            Spectrogram.create({
              height: 150,
              labels: false,
              frequencyMax: 8000,
              scale: "mel",
              colorMap: "roseus",
              fftSamples: 512,
              windowFunc: "hann",
            }),
          ]
        : [],
    });
    const stop = () => one.pause();
    one.on("play", () => {
      claimPlayback(stop);
      setPlaying(true);
    });
    one.on("pause", () => setPlaying(false));
    one.on("finish", () => setPlaying(false));
    one.on("timeupdate", setTime);
    one.on("ready", (seconds) => {
      setDuration(seconds);
      ready.current = true;
      if (wanted.current) one.play().catch(() => {});
      wanted.current = false;
    });
    const loading = typeof source === "string" ? one.load(source) : one.loadBlob(source);
    loading.catch((error: Error) => {
      if (error.name !== "AbortError" && wave.current === one) setFailed(true);
    });
    wave.current = one;
    return () => {
      wave.current = null;
      one.destroy();
      setPlaying(false);
    };
  }, [source, height, spectrogram, dark]);

  const start = (toggle: boolean) => {
    if (!ready.current) wanted.current = true;
    else (toggle ? wave.current?.playPause() : wave.current?.play())?.catch(() => setFailed(true));
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: at each wish, and only then
  useEffect(() => {
    if (play) start(false);
  }, [play]);
  useImperativeHandle(handle, () => ({ toggle: () => start(true) }));

  if (failed) return <p className="hint bad">{t.audio.failed}</p>;
  return (
    <div className="player">
      <Button
        compact
        icon={playing ? "pause" : "play"}
        className={playing ? "round playing" : "round"}
        aria-label={`${playing ? t.audio.stop : t.audio.play}: ${label}`}
        onClick={() => start(true)}
      >
        {label}
      </Button>
      <div ref={box} className="wave" aria-hidden="true" />
      <span className="muted small numeric">
        {f.clock(time)} / {f.clock(duration)}
      </span>
    </div>
  );
}
