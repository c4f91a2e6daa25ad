/**
 * A terminal's screen on a canvas. xterm's own renderers write <style> elements and style attributes, which the hub's
 * content security policy refuses; its parser and buffer (`@xterm/headless`) do not, and drawing cells is little work.
 */
import { type IBufferCell, Terminal } from '@xterm/headless';
import { useCallback, useEffect, useImperativeHandle, useRef, useState } from 'react';
import { t } from '@/text';

const FONT = '"JetBrains Mono", ui-monospace, monospace';
const SIZE = 13;
const LINE = 18;
const BACK = '#0b131d';
const FORE = '#d7e1ec';
const BASIC = [
  '#1b2430',
  '#ff7b72',
  '#4fc58f',
  '#e5a23c',
  '#5fb0f5',
  '#c297ff',
  '#4fd1d9',
  '#c9d5e2',
  '#6b7b8e',
  '#ffa198',
  '#7ee2b0',
  '#f2c66d',
  '#8fc9ff',
  '#d8b9ff',
  '#86e6ec',
  '#ffffff',
];

/** A colour of the 256 of xterm. */
export function colourOf(index: number): string {
  if (index < 16) return BASIC[index] ?? FORE;
  if (index > 231) {
    const grey = 8 + (index - 232) * 10;
    return `rgb(${grey},${grey},${grey})`;
  }
  const level = (step: number) => (step === 0 ? 0 : 55 + step * 40);
  const rest = index - 16;
  return `rgb(${level(Math.floor(rest / 36))},${level(Math.floor(rest / 6) % 6)},${level(rest % 6)})`;
}

function rgb(value: number): string {
  return `#${value.toString(16).padStart(6, '0')}`;
}

function colours(cell: IBufferCell): [string, string] {
  const fore = cell.isFgRGB() ? rgb(cell.getFgColor()) : cell.isFgPalette() ? colourOf(cell.getFgColor()) : FORE;
  const back = cell.isBgRGB() ? rgb(cell.getBgColor()) : cell.isBgPalette() ? colourOf(cell.getBgColor()) : BACK;
  return cell.isInverse() ? [back, fore] : [fore, back];
}

export interface ScreenHandle {
  /** Empties the screen and gives it a size. */
  reset: (width: number, height: number) => void;
  resize: (width: number, height: number) => void;
  write: (data: string) => void;
}

/** All lines of the screen, without what is empty at its end. */
function textOf(terminal: Terminal): string {
  const buffer = terminal.buffer.active;
  const lines = Array.from(
    { length: terminal.rows },
    (_, y) => buffer.getLine(buffer.viewportY + y)?.translateToString(true) ?? '',
  );
  return lines.join('\n').trimEnd();
}

function draw(terminal: Terminal, canvas: HTMLCanvasElement) {
  const context = canvas.getContext('2d');
  if (!context) return;
  const scale = window.devicePixelRatio || 1;
  context.font = `${SIZE}px ${FONT}`;
  const width = context.measureText('M').width;
  const [w, h] = [Math.ceil(width * terminal.cols), LINE * terminal.rows];
  if (canvas.width !== Math.round(w * scale) || canvas.height !== Math.round(h * scale)) {
    canvas.width = Math.round(w * scale);
    canvas.height = Math.round(h * scale);
    canvas.style.aspectRatio = `${w} / ${h}`;
    canvas.style.width = `${w}px`;
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.textBaseline = 'middle';
  context.fillStyle = BACK;
  context.fillRect(0, 0, w, h);
  const buffer = terminal.buffer.active;
  const cell = buffer.getNullCell();
  for (let y = 0; y < terminal.rows; y++) {
    const line = buffer.getLine(buffer.viewportY + y);
    for (let x = 0; line && x < terminal.cols; x++) {
      if (!line.getCell(x, cell) || cell.getWidth() === 0) continue;
      const [fore, back] = colours(cell);
      const chars = cell.getChars();
      if (back !== BACK) {
        context.fillStyle = back;
        context.fillRect(x * width, y * LINE, width * cell.getWidth() + 0.5, LINE);
      }
      if (!chars || cell.isInvisible()) continue;
      context.font = `${cell.isItalic() ? 'italic ' : ''}${cell.isBold() ? '700 ' : ''}${SIZE}px ${FONT}`;
      context.globalAlpha = cell.isDim() ? 0.6 : 1;
      context.fillStyle = fore;
      context.fillText(chars, x * width, y * LINE + LINE / 2);
      if (cell.isUnderline()) context.fillRect(x * width, y * LINE + LINE - 3, width, 1);
      context.globalAlpha = 1;
    }
  }
  context.strokeStyle = FORE;
  context.strokeRect(buffer.cursorX * width + 0.5, buffer.cursorY * LINE + 0.5, width - 1, LINE - 1);
}

export function Screen({ handle }: { handle: React.Ref<ScreenHandle> }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const terminal = useRef<Terminal | null>(null);
  const frame = useRef(0);
  const [text, setText] = useState('');
  const soon = useCallback(() => {
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => {
      if (!terminal.current || !canvas.current) return;
      draw(terminal.current, canvas.current);
      setText(textOf(terminal.current));
    });
  }, []);
  useImperativeHandle(handle, () => {
    const reset = (cols: number, rows: number) => {
      terminal.current?.dispose();
      terminal.current = new Terminal({ cols, rows, allowProposedApi: true, scrollback: 0 });
      soon();
    };
    return {
      reset,
      resize: (cols, rows) => {
        terminal.current?.resize(Math.max(2, cols), Math.max(1, rows));
        soon();
      },
      write: (data) => terminal.current?.write(data, soon),
    };
  }, [soon]);
  useEffect(() => {
    // Faces arrive after the first frame.
    void document.fonts.load(`${SIZE}px "JetBrains Mono"`).then(soon);
    return () => cancelAnimationFrame(frame.current);
  }, [soon]);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable with the keyboard
    <section tabIndex={0} aria-label={t.recordings.screen} className="overflow-auto rounded-box bg-[#0b131d] p-3">
      <canvas ref={canvas} className="block h-auto max-w-none" />
      <pre className="sr-only">{text}</pre>
    </section>
  );
}
