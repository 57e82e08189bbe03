/**
 * What Kubernetes allows as names and labels (apimachinery pkg/util/validation/validation.go). A label that breaks it
 * could pretend to be something else once it stands in "source:key=value".
 */
import type { TextRule } from './field.ts';

function pattern(expected: string, shape: RegExp, longest: number): TextRule {
  return { expected, fits: (text) => text.length <= longest && shape.test(text) };
}

const NAME_63 = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;

/** Names of namespaces and Services. */
export const LABEL_NAME = pattern('lower-case letters, digits and "-", at most 63', NAME_63, 63);
/** Names of everything else. */
export const OBJECT_NAME = pattern('lower-case letters, digits, "-" and ".", at most 253', SUBDOMAIN, 253);
export const LABEL_VALUE = pattern(
  'a label value: letters, digits, "-", "_" and ".", at most 63',
  /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/,
  63,
);
export const LABEL_KEY: TextRule = {
  expected: 'a label key: [prefix/]name',
  fits(text) {
    const slash = text.indexOf('/');
    const name = text.slice(slash + 1);
    const prefix = slash < 0 ? undefined : text.slice(0, slash);
    if (prefix !== undefined && !OBJECT_NAME.fits(prefix)) return false;
    return name.length <= 63 && QUALIFIED.test(name);
  },
};
/** As of a label, but that capitals count nowhere (apimachinery pkg/api/validation, ValidateAnnotations). */
export const ANNOTATION_KEY: TextRule = {
  expected: "an annotation's key: [prefix/]name",
  fits: (text) => LABEL_KEY.fits(text.toLowerCase()),
};
/** A container port's name (IANA_SVC_NAME): also what a policy may write instead of a number. */
export const PORT_NAME = pattern(
  'a port name: lower-case letters, digits and "-", at most 15, with a letter',
  /^(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
  15,
);
/** Any text: annotations may hold whole documents. */
export const ANY_TEXT: TextRule = { expected: 'a text', fits: () => true };
