import { setTheme, theme, THEMES, type Theme } from "../state/theme.js";
import { Icon, type IconName } from "./icon.js";

const NAMES: Readonly<Record<Theme, { text: string; icon: IconName }>> = {
  system: { text: "As the system", icon: "screen" },
  light: { text: "Light", icon: "sun" },
  dark: { text: "Dark", icon: "moon" },
};

/** Light, dark, or as the system is. */
export function ThemeSwitch() {
  return (
    <div class="segmented" role="radiogroup" aria-label="Theme">
      {THEMES.map((name) => (
        <label key={name} title={NAMES[name].text}>
          <input
            type="radio"
            name="theme"
            checked={theme.value === name}
            onChange={() => {
              setTheme(name);
            }}
          />
          <Icon name={NAMES[name].icon} />
          <span class="hidden">{NAMES[name].text}</span>
        </label>
      ))}
    </div>
  );
}
