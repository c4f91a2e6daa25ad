/** Pages for addresses that lead nowhere and for faults of our own. */
import { Link } from '@tanstack/react-router';
import { HubError } from '@/api/client';
import { Button, buttonClass } from '@/kit/button';
import { useTitle } from '@/kit/page';
import { Empty, Failure } from '@/kit/states';
import { t } from '@/text';

export function NoPage() {
  useTitle(t.errors.titles.missing);
  return (
    <Empty
      whole
      title={t.errors.titles.missing}
      action={
        <Link to="/fleet" className={buttonClass('primary')}>
          {t.errors.toStart}
        </Link>
      }
    >
      {t.errors.noPage}
    </Empty>
  );
}

export function Crashed({ error }: { error: unknown }) {
  useTitle(t.errors.crashed);
  const reload = () => location.reload();
  if (error instanceof HubError) return <Failure whole error={error} retry={reload} />;
  return (
    <div role="alert">
      <Empty
        whole
        title={t.errors.crashed}
        action={
          <Button look="primary" onClick={reload}>
            {t.errors.reload}
          </Button>
        }
      >
        <p>{t.errors.crashedHelp}</p>
        <p className="mt-2">
          <code>{error instanceof Error ? error.message : String(error)}</code>
        </p>
      </Empty>
    </div>
  );
}
