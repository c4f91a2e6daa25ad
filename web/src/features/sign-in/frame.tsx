import type { ReactNode } from 'react';
import { useTitle } from '@/kit/page';
import { Brand } from '@/routes/brand';

/** The narrow page of those who are not signed in. */
export function DoorFrame({ title, lead, children }: { title: string; lead?: ReactNode; children: ReactNode }) {
  useTitle(title);
  return (
    <main id="main" className="grid min-h-full justify-items-center px-4 py-[8vh]">
      <div className="w-full max-w-[380px]">
        <div className="mb-4 flex items-center justify-center gap-2.5 text-[17px] font-[650] tracking-[-0.01em]">
          <Brand />
        </div>
        <div className="grid gap-4 rounded-box border border-line bg-surface p-5">
          <header>
            <h1 className="m-0 text-[20px] font-[650] tracking-[-0.015em]">{title}</h1>
            {lead && <p className="m-0 mt-1 text-ink-2">{lead}</p>}
          </header>
          {children}
        </div>
      </div>
    </main>
  );
}
