import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

const NODE_GLOBALS = Object.fromEntries(
  [
    "process",
    "console",
    "URL",
    "Buffer",
    "setTimeout",
    "clearTimeout",
    "setInterval",
    "clearInterval",
    "performance",
    "fetch",
    "AbortController",
    "AbortSignal",
  ].map((name) => [name, "readonly"]),
);

const SIZES = {
  "max-lines": ["error", { max: 250, skipBlankLines: false, skipComments: false }],
  "max-lines-per-function": ["error", { max: 40, skipComments: true }],
};

export default defineConfig(
  {
    ignores: [
      "dist/",
      ".venv/",
      ".setup/",
      "coverage/",
      "node_modules/",
      "test/fixtures/layers/",
      ".train-data/",
      "shared/",
    ],
  },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  js.configs.recommended,
  { rules: { eqeqeq: "error", "no-console": "off", "object-shorthand": "error", ...SIZES } },
  {
    files: ["**/*.{js,mjs}"],
    languageOptions: { ecmaVersion: 2025, sourceType: "module", globals: NODE_GLOBALS },
  },
  {
    files: ["**/*.{ts,tsx}"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "inline-type-imports" }],
      // Union names of strings read better as types, and records of plain data as either.
      "@typescript-eslint/consistent-type-definitions": "off",
      // tsconfig's noPropertyAccessFromIndexSignature asks for the brackets.
      "@typescript-eslint/dot-notation": ["error", { allowIndexSignaturePropertyAccess: true }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: false }],
    },
  },
  {
    // Prettier gives every attribute of an element a line of its own.
    files: ["**/*.tsx"],
    rules: { "max-lines-per-function": ["error", { max: 60, skipComments: true }] },
  },
  {
    files: ["examples/**"],
    rules: { "@typescript-eslint/restrict-template-expressions": "off" },
  },
  {
    files: ["test/**", "examples/**/*.test.ts"],
    rules: {
      "max-lines-per-function": "off",
      // expect(mock.method) and similar never call what they mention.
      "@typescript-eslint/unbound-method": "off",
    },
  },
);
