{
  'targets': [
    {
      'target_name': 'weir_native',
      'sources': ['<!@(ls src/*.cc)'],
      'include_dirs': ['../node_modules/node-addon-api'],
      # SWALLOW: a worker thread of Node may be ended while a callback of ours runs; that must not abort the process.
      'defines': ['NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS', 'NAPI_VERSION=9', 'NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED', '_GNU_SOURCE'],
      'cflags': ['-Wall', '-Wextra', '-Wno-unused-parameter', '-Wno-missing-field-initializers', '-fvisibility=hidden'],
      'cflags_cc': ['-std=c++17', '-fno-exceptions', '-fno-rtti', '-fvisibility=hidden'],
      'cflags_cc!': ['-std=gnu++17', '-std=gnu++20'],
      'libraries': ['-lbpf', '-lelf', '-lz'],
    },
  ],
}
