// Single transfers at a constant rate, each from a list that was prepared: what `hivecore-load --mix transfers
// --arrival constant` does. Everything comes by environment: see loadtest/crosscheck/__main__.py.
import grpc from "k6/net/grpc";
import exec from "k6/execution";
import { SharedArray } from "k6/data";
import { Counter } from "k6/metrics";

const transfers = new SharedArray("transfers", () => JSON.parse(open(__ENV.TRANSFERS)));
const posted = new Counter("posted");
const refused = new Counter("refused");
const failed = new Counter("failed");

const client = new grpc.Client();
client.loadProtoset(__ENV.PROTOSET);

const params = {
  metadata: { authorization: `Bearer ${__ENV.TOKEN}` },
  timeout: "15s",
};

export const options = {
  discardResponseBodies: true,
  summaryTrendStats: ["count", "med", "p(90)", "p(99)", "p(99.9)", "max"],
  scenarios: {
    transfers: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE),
      timeUnit: "1s",
      duration: `${__ENV.SECONDS}s`,
      preAllocatedVUs: Number(__ENV.USERS),
      maxVUs: Number(__ENV.USERS),
    },
  },
};

let connected = false;

export default function () {
  if (!connected) {
    client.connect(__ENV.GATEWAY, { plaintext: true });
    connected = true;
  }
  const transfer = transfers[exec.scenario.iterationInTest];
  const answer = client.invoke("hivecore.gateway.v1.Bank/PostTransfer", { transfer }, params);
  if (answer.status === grpc.StatusOK) {
    posted.add(1);
  } else if (answer.status === grpc.StatusFailedPrecondition || answer.status === grpc.StatusNotFound) {
    refused.add(1);
  } else {
    failed.add(1);
  }
}
