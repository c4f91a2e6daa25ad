/** Looking on while a shell is used: server-sent events, opened with a ticket that holds once. */
import { hub, ok } from '@/api/client';
import { type CastEvent, eventOf, sizeOf } from './cast';

interface Heard {
  header: (size: { width: number; height: number }) => void;
  events: (events: CastEvent[]) => void;
  dropped: (pieces: string) => void;
  end: () => void;
}

/** Listens until the session ends; what it returns stops listening. */
export async function observe(id: string, heard: Heard): Promise<() => void> {
  const path = `/api/recordings/${id}/live`;
  const { ticket } = await ok(hub.POST('/api/tickets', { body: { path } }));
  const source = new EventSource(`${path}?ticket=${encodeURIComponent(ticket)}`);
  const on = (name: string, act: (data: string) => void) =>
    source.addEventListener(name, (event) => act((event as MessageEvent<string>).data));
  // A ticket is spent: what breaks does not come back by itself.
  const end = () => {
    source.close();
    heard.end();
  };
  on('header', (data) => heard.header(sizeOf(data)));
  on('lines', (data) =>
    heard.events(
      data
        .split('\n')
        .map(eventOf)
        .filter((event): event is CastEvent => event !== null),
    ),
  );
  on('dropped', heard.dropped);
  on('end', end);
  source.onerror = end;
  return () => source.close();
}
