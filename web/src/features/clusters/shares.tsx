/** With whom a cluster is shared. */
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useAct, useDo } from '@/api/act';
import { hub, ok } from '@/api/client';
import { clusterShares } from '@/api/queries';
import { useAdminOnly } from '@/api/rights';
import { Button } from '@/kit/button';
import { FormDialog } from '@/kit/dialog';
import { Field, Input, Select, text } from '@/kit/field';
import { Chip, Panel } from '@/kit/page';
import { Loaded } from '@/kit/states';
import { Time } from '@/kit/time';
import { t } from '@/text';

const words = t.clusters;

export function Shares({ cluster }: { cluster: string }) {
  const denied = useAdminOnly();
  const act = useAct();
  const attempt = useDo();
  const [open, setOpen] = useState(false);
  const query = useQuery({ ...clusterShares(cluster), enabled: !denied });
  const path = { path: { id: cluster } };
  return (
    <Panel
      title={words.shared}
      aside={
        <Button denied={denied} onClick={() => setOpen(true)}>
          {words.share}
        </Button>
      }
    >
      {denied ? (
        <p className="m-0 px-3 py-3 text-ink-2">{words.sharesDenied}</p>
      ) : (
        <Loaded query={query} inPanel>
          {(shares) =>
            shares.length === 0 ? (
              <p className="m-0 px-3 py-3 text-ink-2">{words.notShared}</p>
            ) : (
              <ul className="m-0 list-none p-0">
                {shares.map((share) => (
                  <li
                    key={share.subject}
                    className="flex flex-wrap items-center gap-2 border-b border-line-soft px-3 py-1.5 last:border-0"
                  >
                    <span className="font-medium">{share.subject}</span>
                    <Chip>{share.level}</Chip>
                    <span className="text-[12px] text-ink-3">
                      {words.sharedBy} {share.created_by}, <Time at={share.created_at} />
                    </span>
                    <span className="ml-auto" />
                    <Button
                      look="quiet"
                      aria-label={`${words.unshare}: ${share.subject}`}
                      onClick={() =>
                        void attempt({
                          run: () =>
                            ok(
                              hub.DELETE('/api/clusters/{id}/share', {
                                params: { ...path, query: { subject: share.subject } },
                              }),
                            ),
                          changes: ['clusters'],
                        })
                      }
                    >
                      {words.unshare}
                    </Button>
                  </li>
                ))}
              </ul>
            )
          }
        </Loaded>
      )}
      <FormDialog
        open={open}
        onClose={() => setOpen(false)}
        title={words.share}
        lead={words.shareLead}
        submit={words.share}
        onSubmit={(form) =>
          act({
            run: () =>
              ok(
                hub.POST('/api/clusters/{id}/share', {
                  params: path,
                  body: { subject: text(form, 'subject'), level: text(form, 'level') },
                }),
              ),
            changes: ['clusters'],
          })
        }
      >
        <Field label={words.shareWith}>
          <Input name="subject" type="email" required autoComplete="off" />
        </Field>
        <Field label={words.level}>
          <Select name="level">
            {Object.entries(words.levels).map(([level, name]) => (
              <option key={level} value={level}>
                {name}
              </option>
            ))}
          </Select>
        </Field>
      </FormDialog>
    </Panel>
  );
}
