/** Which pod a container runtime speaks of, where the source knows several of one name one after the other. */
import type { Pod } from './object.ts';

/**
 * On the mirror of a static pod, its uid at the kubelet, which is the hash of its file; the API server gives the mirror one of
 * its own. Source: kubernetes.io/docs/reference/labels-annotations-taints, pkg/kubelet/pod/mirror_client.go.
 */
const MIRROR = 'kubernetes.io/config.mirror';

/** `uid` as the runtime tells it, '' where it tells none; a source may have none either. The names are the same already. */
export function isSamePod(uid: string, pod: Pick<Pod, 'uid' | 'annotations'>): boolean {
  return uid === '' || pod.uid === '' || uid === pod.uid || uid === pod.annotations[MIRROR];
}
