/** One recording: replayed, searched, or looked on at while it goes on. */
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { FormEvent } from 'react';
import { useEffect, useRef, useState } from 'react';
import { useAct } from '@/api/act';
import { errorOf, HubError, hub, ok } from '@/api/client';
import type { RecordingView } from '@/api/hub';
import { recordingOf } from '@/api/queries';
import { Button, buttonClass } from '@/kit/button';
import { bytes } from '@/kit/bytes';
import { Confirm } from '@/kit/dialog';
import { Input } from '@/kit/field';
import { ClusterName } from '@/kit/flag';
import { Facts, Page, Panel } from '@/kit/page';
import { Failure, Loaded, Problem, State, sentence, Why } from '@/kit/states';
import { stretch, Time } from '@/kit/time';
import { t } from '@/text';
import { castOf } from './cast';
import { observe } from './live';
import { clock, Player, show } from './player';
import { Screen, type ScreenHandle } from './screen';
import { RecordingState } from './state';

const route = getRouteApi('/app/govern/recordings/$id');
const words = t.recordings;

export function RecordingPage() {
  const { id } = route.useParams();
  const query = useQuery(recordingOf(id));
  return (
    <Loaded whole query={query}>
      {(recording) => <Recording recording={recording} />}
    </Loaded>
  );
}

function Recording({ recording }: { recording: RecordingView }) {
  const { text, at } = route.useSearch();
  const [target, setTarget] = useState<{ at: number } | null>(at ? { at: Number(at) } : null);
  const [live, setLive] = useState(false);
  const goesOn = recording.state === 'recording';
  const url = `/api/recordings/${recording.id}/cast`;
  return (
    <Page
      title={recording.command || recording.kind}
      actions={
        <>
          <Link to="/govern/recordings" className={buttonClass()}>
            {words.back}
          </Link>
          {goesOn && !live && (
            <Button look="primary" onClick={() => setLive(true)}>
              {words.observe}
            </Button>
          )}
          {recording.stream && <Terminate stream={recording.stream} />}
          <a href={url} download={`${recording.id}.cast`} className={buttonClass()}>
            {words.download}
          </a>
        </>
      }
    >
      <div className="grid grid-cols-[minmax(0,1fr)_320px] items-start gap-3.5 max-wide:grid-cols-1">
        <div className="grid min-w-0 gap-3">
          {recording.reason && <Why tone="warn">{sentence(recording.reason)}</Why>}
          {recording.kind === 'port-forward' && <Why tone="ok">{words.noScreen}</Why>}
          {live ? <Live id={recording.id} /> : <Replay id={recording.id} target={target} finished={!goesOn} />}
        </div>
        <div className="grid gap-3.5">
          <Panel title={words.session}>
            <div className="p-3">
              <About recording={recording} />
            </div>
          </Panel>
          {!live && <Search id={recording.id} text={text} onGo={(found) => setTarget({ at: found })} />}
        </div>
      </div>
    </Page>
  );
}

function About({ recording }: { recording: RecordingView }) {
  return (
    <Facts
      facts={[
        [words.facts.state, <RecordingState key="state" recording={recording} />],
        [words.facts.user, recording.email],
        [words.facts.cluster, <ClusterName key="cluster" name={recording.cluster} />],
        [words.facts.namespace, <code key="namespace">{recording.namespace}</code>],
        [words.facts.pod, <code key="pod">{recording.pod}</code>],
        [words.facts.began, <Time key="began" at={recording.started_at} />],
        [words.facts.length, stretch(recording.duration_ms)],
        [words.facts.size, bytes(recording.bytes)],
        recording.exit_code !== null &&
          recording.exit_code !== undefined && [words.facts.exit, String(recording.exit_code)],
        [
          words.facts.request,
          <Link
            key="request"
            to="/govern/audit"
            search={{ request: recording.request_id, cluster: undefined }}
            className="text-accent hover:underline"
          >
            {words.audit}
          </Link>,
        ],
      ]}
    />
  );
}

function Replay({ id, target, finished }: { id: string; target: { at: number } | null; finished: boolean }) {
  const query = useQuery({
    queryKey: ['recordings', id, 'cast', finished],
    // Not JSON, and each reading leaves an audit row: asked for once.
    queryFn: async ({ signal }) => {
      const response = await fetch(`/api/recordings/${id}/cast`, { signal });
      if (!response.ok) throw errorOf(response.status, await response.json().catch(() => null));
      return castOf(await response.text());
    },
    staleTime: Number.POSITIVE_INFINITY,
    refetchOnWindowFocus: false,
    retry: false,
  });
  if (query.error) {
    const away = query.error instanceof HubError ? query.error : new HubError(0, 'away', t.errors.away);
    return <Failure error={away} retry={() => void query.refetch()} />;
  }
  return <Loaded query={query}>{(cast) => <Player cast={cast} target={target} />}</Loaded>;
}

function Live({ id }: { id: string }) {
  const screen = useRef<ScreenHandle>(null);
  const [said, setSaid] = useState<{ tone: 'ok' | 'warn' | 'idle'; text: string }>({
    tone: 'ok',
    text: words.observing,
  });
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    let stop: (() => void) | undefined;
    let gone = false;
    const heard = {
      header: ({ width, height }: { width: number; height: number }) => screen.current?.reset(width, height),
      events: (events: Parameters<typeof show>[1][]) => {
        for (const event of events) if (screen.current) show(screen.current, event);
      },
      dropped: (pieces: string) => setSaid({ tone: 'warn', text: words.dropped(pieces) }),
      end: () => setSaid({ tone: 'idle', text: words.ended }),
    };
    observe(id, heard).then(
      (end) => {
        stop = end;
        if (gone) end();
      },
      (failure: unknown) => setError(failure),
    );
    return () => {
      gone = true;
      stop?.();
    };
  }, [id]);
  return (
    <div className="grid gap-2">
      <div aria-live="polite">
        {error === null ? <State tone={said.tone}>{said.text}</State> : <Problem error={error} />}
      </div>
      <Screen handle={screen} />
    </div>
  );
}

function Search({ id, text, onGo }: { id: string; text: string | undefined; onGo: (at: number) => void }) {
  const [asked, setAsked] = useState(text);
  const query = useQuery({
    queryKey: ['recordings', id, 'search', asked],
    queryFn: ({ signal }) =>
      ok(hub.GET('/api/recordings/{id}/search', { params: { path: { id }, query: { text: asked ?? '' } }, signal })),
    enabled: Boolean(asked),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    setAsked(String(new FormData(event.currentTarget).get('text')).trim() || undefined);
  };
  return (
    <Panel
      title={words.search}
      aside={query.data && <span className="text-ink-3">{words.found(query.data.lines.length, query.data.more)}</span>}
    >
      <form className="p-3" onSubmit={submit}>
        <Input
          data-filter
          name="text"
          type="search"
          mono
          aria-label={words.search}
          defaultValue={text}
          maxLength={256}
        />
      </form>
      {query.error && <Problem error={query.error} />}
      {query.data?.lines.length === 0 && <p className="m-0 px-3 pb-3 text-ink-2">{words.notFound}</p>}
      <ul className="m-0 max-h-[46vh] list-none overflow-auto p-0">
        {query.data?.lines.map((line) => (
          <li key={`${line.at}${line.line}`} className="border-t border-line-soft">
            <button
              type="button"
              data-row-link
              className="flex w-full gap-2 px-3 py-1.5 text-left hover:bg-bg"
              onClick={() => onGo(line.at)}
            >
              <span className="font-mono text-[12px] text-accent">{clock(line.at)}</span>
              <code className="min-w-0 truncate">{line.line}</code>
            </button>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Terminate({ stream }: { stream: string }) {
  const act = useAct();
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button look="danger" onClick={() => setOpen(true)}>
        {words.terminate}
      </Button>
      <Confirm
        open={open}
        onClose={() => setOpen(false)}
        title={words.terminateTitle}
        lead={words.terminateLead}
        submit={words.terminate}
        onConfirm={() =>
          act({
            run: () => ok(hub.DELETE('/api/streams/{id}', { params: { path: { id: stream } } })),
            done: words.terminated,
            changes: ['recordings', 'streams'],
          })
        }
      />
    </>
  );
}
