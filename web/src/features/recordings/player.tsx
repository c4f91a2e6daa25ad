/** Replays a recording: play, pause, go anywhere, faster, without its pauses. */
import { useEffect, useMemo, useRef, useState } from 'react';
import { Button } from '@/kit/button';
import { Checkbox, Select } from '@/kit/field';
import { t } from '@/text';
import { type Cast, type CastEvent, resizeOf, shortened, withoutPauses } from './cast';
import { Screen, type ScreenHandle } from './screen';

const words = t.recordings;
const SPEEDS = [0.5, 1, 2, 4, 8, 16];

export function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export function show(screen: ScreenHandle, event: CastEvent) {
  if (event.code === 'o') screen.write(event.data);
  const size = event.code === 'r' && resizeOf(event.data);
  if (size) screen.resize(size.width, size.height);
}

interface Props {
  cast: Cast;
  /** Where in the whole recording to go, in seconds; a new object goes there again. */
  target: { at: number } | null;
}

export function Player({ cast, target }: Props) {
  const screen = useRef<ScreenHandle>(null);
  const [skip, setSkip] = useState(true);
  const [speed, setSpeed] = useState(1);
  const [playing, setPlaying] = useState(false);
  const [at, setAt] = useState(0);
  const events = useMemo(() => (skip ? withoutPauses(cast.events, 2) : cast.events), [cast, skip]);
  const end = events.at(-1)?.at ?? 0;
  const state = useRef({ next: 0, at: 0 });

  const goTo = (time: number) => {
    const { current } = screen;
    if (!current) return;
    if (time < state.current.at || state.current.next === 0) {
      current.reset(cast.width, cast.height);
      state.current.next = 0;
    }
    let event = events[state.current.next];
    while (event && event.at <= time) {
      show(current, event);
      state.current.next += 1;
      event = events[state.current.next];
    }
    state.current.at = time;
    setAt(time);
  };

  // biome-ignore lint/correctness/useExhaustiveDependencies: from the beginning when the events are others
  useEffect(() => {
    state.current = { next: 0, at: 0 };
    goTo(target ? (skip ? shortened(cast.events, events, target.at) : target.at) : 0);
  }, [events, target]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: one clock for as long as it plays
  useEffect(() => {
    if (!playing) return;
    let frame = 0;
    let before = performance.now();
    const tick = (now: number) => {
      const time = Math.min(end, state.current.at + ((now - before) / 1000) * speed);
      before = now;
      goTo(time);
      if (time >= end) setPlaying(false);
      else frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(frame);
  }, [playing, speed, events]);

  const toggle = () => {
    if (!playing && at >= end) goTo(0);
    setPlaying(!playing);
  };
  return (
    <div className="grid gap-2">
      <Screen handle={screen} />
      <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
        <Button look="primary" onClick={toggle}>
          {playing ? words.pause : words.play}
        </Button>
        <span className="flex min-w-[200px] flex-1 items-center gap-2 font-mono text-[12px]">
          {clock(at)}
          <input
            type="range"
            aria-label={words.position}
            aria-valuetext={clock(at)}
            min={0}
            max={Math.max(end, 0.1)}
            step={0.1}
            value={at}
            onChange={(event) => goTo(Number(event.target.value))}
            className="min-w-0 flex-1 accent-accent"
          />
          {clock(end)}
        </span>
        <Select
          aria-label={words.speed}
          value={speed}
          onChange={(event) => setSpeed(Number(event.target.value))}
          className="w-auto!"
        >
          {SPEEDS.map((one) => (
            <option key={one} value={one}>
              {one}×
            </option>
          ))}
        </Select>
        <Checkbox label={words.idle} checked={skip} onChange={(event) => setSkip(event.target.checked)} />
      </div>
    </div>
  );
}
