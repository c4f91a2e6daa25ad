import { fileURLToPath } from 'node:url';
import tailwindcss from '@tailwindcss/vite';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const local = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  plugins: [react(), tailwindcss()],
  resolve: {
    alias: {
      '@': local('./src'),
      // It writes <style> elements, which the hub's content security policy refuses; and our body never scrolls.
      'react-remove-scroll': local('./src/kit/no-scroll-lock.tsx'),
    },
  },
  build: {
    target: 'es2022',
    sourcemap: false,
    // The policy allows no data: scripts or fonts, and a file of its own is cached for ever.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  // `npm run dev` beside a hub on its default port, or the one that FLOTILLA_HUB names.
  server: {
    // The hub believes a cookie only for pages of its own origin, so the host stays the one that the browser names.
    proxy: Object.fromEntries(
      ['/api', '/auth', '/dev/login', '/debug', '/k8s', '/logout'].map((path) => [
        path,
        { target: process.env.FLOTILLA_HUB ?? 'http://127.0.0.1:8080', changeOrigin: false },
      ]),
    ),
  },
  test: { environment: 'happy-dom', include: ['src/**/*.test.{ts,tsx}'] },
});
