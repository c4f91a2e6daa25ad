import { describe, expect, it } from 'vitest';
import { bodyOf } from './credentials';
import { labelsOf } from './detail';

function form(fields: Record<string, string>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.set(name, value);
  return data;
}

describe('credentials', () => {
  it('are sent as their kind alone, without what was left empty', () => {
    const typed = form({ server: ' https://10.0.0.1:6443 ', ca: '', token: 't', kubeconfig: 'left over' });
    expect(JSON.parse(JSON.stringify(bodyOf('token', typed)))).toEqual({
      auth_type: 'bearer_token',
      server: 'https://10.0.0.1:6443',
      token: 't',
    });
    expect(JSON.parse(JSON.stringify(bodyOf('kubeconfig', typed)))).toEqual({
      auth_type: 'kubeconfig',
      kubeconfig: 'left over',
    });
  });

  it('trust anyone only where that was ticked', () => {
    expect(bodyOf('token', form({ server: 's', token: 't' })).insecure_skip_tls_verify).toBeUndefined();
    expect(bodyOf('token', form({ server: 's', token: 't', insecure: 'on' })).insecure_skip_tls_verify).toBe(true);
  });
});

describe('labels', () => {
  it('are one name=value a line', () => {
    expect(labelsOf('env=prod\n\n region = eu=1 ')).toEqual({ env: 'prod', region: 'eu=1' });
    expect(() => labelsOf('env')).toThrow('env is not name=value');
    expect(() => labelsOf('=x')).toThrow();
  });
});
