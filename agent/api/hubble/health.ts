/** grpc.health.v1.Health: the server answers, so it serves. */
import { Refusal } from './refusal.ts';

/** grpc.health.v1.HealthCheckResponse.ServingStatus. */
const SERVING = 1;
const SERVICE_UNKNOWN = 3;
/** '' is the server as a whole; Hubble's client asks for its own name of the service. */
const SERVICES: readonly string[] = ['', 'hubble.server.Observer', 'observer.Observer'];

/** Health.Check. */
export function checkHealth(service: string): object {
  if (SERVICES.includes(service)) return { status: SERVING };
  throw new Refusal('NOT_FOUND', `unknown service ${JSON.stringify(service)}`);
}

/** The first message of Health.Watch; there is never another. */
export function watchHealth(service: string): object {
  return { status: SERVICES.includes(service) ? SERVING : SERVICE_UNKNOWN };
}
