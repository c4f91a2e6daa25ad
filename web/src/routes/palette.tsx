/** Ctrl+K: to any page, cluster or action by a few letters of its name. */
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { Command } from 'cmdk';
import { Dialog } from 'radix-ui';
import type { ReactNode } from 'react';
import { clusterList } from '@/api/queries';
import { Flag } from '@/kit/flag';
import { t } from '@/text';
import { PAGES } from './pages';

const ITEM =
  'flex h-9 cursor-pointer items-center gap-2.5 rounded-ctl px-2.5 select-none data-[selected=true]:bg-accent-soft';
const GROUP =
  '[&_[cmdk-group-heading]]:px-2.5 [&_[cmdk-group-heading]]:pt-2 [&_[cmdk-group-heading]]:pb-1 [&_[cmdk-group-heading]]:text-[11px] [&_[cmdk-group-heading]]:font-semibold [&_[cmdk-group-heading]]:text-ink-3';

function Item({ words, onSelect, children }: { words: string; onSelect: () => void; children: ReactNode }) {
  return (
    <Command.Item value={words} onSelect={onSelect} className={ITEM}>
      {children}
    </Command.Item>
  );
}

export default function Palette({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const { data: clusters = [] } = useQuery(clusterList);
  const go = (way: () => Promise<void>) => () => {
    onClose();
    void way();
  };
  return (
    <Dialog.Root open onOpenChange={(open) => !open && onClose()}>
      <Dialog.Portal>
        <Dialog.Overlay className="fixed inset-0 z-40 bg-veil" />
        <Dialog.Content
          aria-describedby={undefined}
          className="fixed top-[10vh] left-1/2 z-40 w-[min(560px,calc(100vw-24px))] -translate-x-1/2 overflow-hidden rounded-box border border-line bg-surface shadow-float"
        >
          <Dialog.Title className="sr-only">{t.frame.palette.title}</Dialog.Title>
          <Command label={t.frame.palette.title} loop>
            <Command.Input
              placeholder={t.frame.palette.placeholder}
              className="h-12 w-full border-b border-line bg-surface px-4 text-[15px] outline-none max-wide:text-[16px]"
            />
            <Command.List className="max-h-[56vh] overflow-auto p-1.5" tabIndex={-1}>
              <Command.Empty className="px-2.5 py-4 text-ink-2">{t.frame.palette.none}</Command.Empty>
              <Command.Group heading={t.frame.palette.pages} className={GROUP}>
                {PAGES.map(({ to, label }) => (
                  <Item key={to} words={`page ${label}`} onSelect={go(() => navigate({ to }))}>
                    {label}
                  </Item>
                ))}
              </Command.Group>
              {clusters.length > 0 && (
                <Command.Group heading={t.frame.palette.clusters} className={GROUP}>
                  {clusters.map(({ id, name }) => (
                    <Item
                      key={id}
                      words={`cluster ${name}`}
                      onSelect={go(() => navigate({ to: '/fleet/clusters/$name', params: { name } }))}
                    >
                      <Flag name={name} />
                      {name}
                    </Item>
                  ))}
                </Command.Group>
              )}
              <Command.Group heading={t.frame.palette.actions} className={GROUP}>
                <Item words={t.frame.addCluster} onSelect={go(() => navigate({ to: '/fleet/add' }))}>
                  {t.frame.addCluster}
                </Item>
                <Item
                  words={t.frame.askAccess}
                  onSelect={go(() => navigate({ to: '/govern/requests', search: { ask: 'new' } }))}
                >
                  {t.frame.askAccess}
                </Item>
              </Command.Group>
            </Command.List>
          </Command>
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
