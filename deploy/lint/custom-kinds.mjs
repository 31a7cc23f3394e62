// Checks the objects that come in on standard input, as a JSON list, whose kinds are KEDA's, the Prometheus operator's or the
// Gateway API's.
import { readFileSync } from "node:fs";
import { HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import { TriggerAuthentication } from "@kubernetes-models/keda/keda.sh/v1alpha1/TriggerAuthentication";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const kinds = { HTTPRoute, ScaledObject, TriggerAuthentication, ServiceMonitor };
for (const object of JSON.parse(readFileSync(0))) {
  const Kind = kinds[object.kind];
  try {
    if (!Kind) throw new Error("there is no model of this kind");
    new Kind(object).validate();
  } catch (error) {
    console.log(`${object.kind} ${object.metadata.name}: ${error.message}`);
    process.exitCode = 1;
  }
}
