// Another evaluator of IAM policies than ours: one request a line, one verdict a line.
import { createInterface } from "node:readline";
import { loadPolicy } from "@cloud-copilot/iam-policy";

// Its front door loses the name of a resource's policy and fails at that, so this comes in one door further.
const inside = (path) => import(new URL(`./node_modules/@cloud-copilot/iam-simulate/dist/esm/${path}.js`, import.meta.url));
const { authorize } = await inside("core_engine/CoreSimulatorEngine");
const { DiscoveryContextKeyConstraints } = await inside("context_keys/discoveryContextKeyConstraints");
const { AwsRequestImpl } = await inside("request/request");
const { RequestContextImpl } = await inside("requestContext");

const loaded = ({ name, policy }) => loadPolicy(policy, { name });
const levels = (several) =>
  several.map(({ orgIdentifier, policies }) => ({ orgIdentifier, policies: policies.map(loaded) }));

function verdict({ request, ...policies }) {
  const { principal, resource, action, contextVariables } = request;
  return authorize({
    request: new AwsRequestImpl(principal, resource, action, new RequestContextImpl(contextVariables)),
    identityPolicies: policies.identityPolicies.map(loaded),
    serviceControlPolicies: levels(policies.serviceControlPolicies),
    resourceControlPolicies: levels(policies.resourceControlPolicies),
    resourcePolicy: policies.resourcePolicy && loaded({ name: "resource", policy: policies.resourcePolicy }),
    permissionBoundaries: policies.permissionBoundaryPolicies?.map(loaded),
    simulationParameters: {
      simulationMode: "Strict",
      discoveryContextKeyConstraints: new DiscoveryContextKeyConstraints([]),
    },
    serviceSettings: { s3: {} },
  }).result;
}

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    said = verdict(JSON.parse(line));
  } catch (error) {
    said = `failed: ${error}`;
  }
  process.stdout.write(`${said}\n`);
}
