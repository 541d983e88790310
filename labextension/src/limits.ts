import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ISignal, Signal } from '@lumino/signaling';

/** What the user set; defaults are in schema/plugin.json, too. */
export interface ILimits {
  /** Show the line under each cell that asks. */
  badge: boolean;
  /** Show the panel's tab. */
  panel: boolean;
  /** Highlight the text of %%llm cells as Markdown. */
  highlight: boolean;
  /** Longest side of an image put into a cell, in pixels. */
  imageSide: number;
  /** Largest file that is put into a cell as it is, in bytes. */
  imageBytes: number;
}

const DEFAULTS: ILimits = {
  badge: true,
  panel: true,
  highlight: true,
  imageSide: 2048,
  imageBytes: 2_000_000
};

/** The settings, as they are now. */
export class Limits {
  get current(): ILimits {
    return this._current;
  }

  get changed(): ISignal<this, ILimits> {
    return this._changed;
  }

  /** Follow the settings of the user. */
  follow(settings: ISettingRegistry.ISettings): void {
    const read = () => {
      this._current = { ...DEFAULTS, ...(settings.composite as Partial<ILimits>) };
      this._changed.emit(this._current);
    };
    settings.changed.connect(read);
    read();
  }

  private _current = DEFAULTS;
  private _changed = new Signal<this, ILimits>(this);
}
