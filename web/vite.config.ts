import { defineConfig } from 'vite';

export default defineConfig({
  base: './', // the page may live in any folder
  build: { target: 'es2022' }, // top-level await stays as it is
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
});
