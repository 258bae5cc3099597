import type { estypes } from "@elastic/elasticsearch";
import type * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import type * as elasticsearch from "@grafana/grafana-foundation-sdk/elasticsearch";
import type * as logs from "@grafana/grafana-foundation-sdk/logs";
import type * as prometheus from "@grafana/grafana-foundation-sdk/prometheus";
import type * as stat from "@grafana/grafana-foundation-sdk/stat";
import type * as statetimeline from "@grafana/grafana-foundation-sdk/statetimeline";
import type * as timeseries from "@grafana/grafana-foundation-sdk/timeseries";

/** The same as JSON has it: words instead of enums, nothing of the library's own. */
type Json<T> = 0 extends 1 & T
  ? any
  : T extends string
    ? `${T}`
    : T extends number | boolean | null | undefined
      ? T
      : T extends (infer U)[]
        ? Json<U>[]
        : { [K in keyof T as K extends `_${string}` ? never : K]: Json<T[K]> };

type Defaults<C> = Omit<Json<dashboard.FieldConfig>, "custom"> & { custom?: C };
type Kind<T extends string, O, C, Q> = Omit<
  Json<dashboard.Panel>,
  "type" | "options" | "fieldConfig" | "targets"
> & {
  type: T;
  id: number;
  options: Json<O>;
  fieldConfig: { defaults: Defaults<C>; overrides: [] };
  targets: Json<Q>[];
};
type Panel =
  | Json<dashboard.RowPanel>
  | Kind<"stat", stat.Options, never, prometheus.Dataquery>
  | Kind<"timeseries", timeseries.Options, Json<timeseries.FieldConfig>, prometheus.Dataquery>
  | Kind<"state-timeline", statetimeline.Options, Json<statetimeline.FieldConfig>, prometheus.Dataquery>
  | Kind<"logs", logs.Options, never, elasticsearch.dataquery>;
/** A dashboard as Grafana takes it, with the kinds of panels that are made here. */
export type Dashboard = Omit<Json<dashboard.Dashboard>, "panels"> & { panels: Panel[] };

/** What Elasticsearch is told. */
export type Policy = Omit<estypes.IlmPutLifecycleRequest, "name">;
export type IndexTemplate = Omit<estypes.IndicesPutIndexTemplateRequest, "name">;
export type Role = Omit<estypes.SecurityPutRoleRequest, "name">;
