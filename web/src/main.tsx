/** Starts the console. What `index.html` painted stays until the first page is there. */
import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { createRoot } from 'react-dom/client';
import { Toasts } from './kit/toast';
import { queryClient, router } from './routes/router';

const root = document.getElementById('root');

async function start() {
  if (!root) return;
  await router.load();
  createRoot(root).render(
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
      <Toasts />
    </QueryClientProvider>,
  );
}

void start();
