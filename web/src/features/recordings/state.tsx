import type { RecordingView } from '@/api/hub';
import { State, type StateTone } from '@/kit/states';
import { t } from '@/text';

const TONES: Record<string, StateTone> = { recording: 'ok', complete: 'idle', incomplete: 'warn' };

export function RecordingState({ recording }: { recording: RecordingView }) {
  return <State tone={TONES[recording.state] ?? 'idle'}>{t.recordings.states[recording.state]}</State>;
}
