import { DropdownMenu } from 'radix-ui';
import type { ReactNode } from 'react';
import { cx } from './class';

export interface MenuItem {
  label: string;
  /** Shown below the label: why it is not to be had. */
  denied?: string | undefined;
  danger?: boolean;
  onSelect: () => void;
}

export function Menu({
  trigger,
  items,
  head,
}: {
  trigger: ReactNode;
  items: readonly (MenuItem | false | undefined)[];
  head?: ReactNode;
}) {
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>{trigger}</DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content
          align="end"
          sideOffset={4}
          collisionPadding={8}
          className="z-40 max-w-[320px] min-w-[180px] rounded-box border border-line bg-surface p-1 shadow-float"
        >
          {head && <div className="border-b border-line-soft px-2.5 py-2">{head}</div>}
          {items.map(
            (item) =>
              item && (
                <DropdownMenu.Item
                  key={item.label}
                  disabled={Boolean(item.denied)}
                  onSelect={item.onSelect}
                  className={cx(
                    'cursor-pointer rounded-ctl px-2.5 py-1.5 outline-none select-none data-highlighted:bg-accent-soft max-wide:py-2.5',
                    item.denied ? 'text-ink-3' : item.danger ? 'text-bad' : 'text-ink',
                  )}
                >
                  {item.label}
                  {item.denied && <span className="block text-[12px]">{item.denied}</span>}
                </DropdownMenu.Item>
              ),
          )}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
