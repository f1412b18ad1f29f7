import { defineConfig } from '@playwright/test';

// Workers read this file again and inherit the port.
const port = process.env['PAGE_PORT'] ??= String(42_000 + (process.pid % 2000));

// The page as it is built, in the Chromium that the machine has.
export default defineConfig({
  testDir: 'e2e',
  workers: 1,
  // A browser on two busy cores is late at times; what fails three times over is wrong.
  retries: 2,
  timeout: 60_000,
  reporter: [['list'], ['./e2e/sum.ts']],
  outputDir: '.test/browser',
  use: {
    baseURL: `http://127.0.0.1:${port}`,
    viewport: { width: 1440, height: 900 },
    launchOptions: {
      executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    },
  },
  webServer: { command: `node serve.mjs --port ${port}`, url: `http://127.0.0.1:${port}`, reuseExistingServer: false },
});
