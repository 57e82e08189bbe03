// SPDX-License-Identifier: Apache-2.0
// Crossing between JS values and plain C++. Nothing here trusts the type of what JS passed.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <string>

#include <napi.h>

struct Bytes {
	uint8_t *data = nullptr;
	size_t size = 0;
};

// Points into the JS buffer: valid only until control returns to JS. False: not a Uint8Array.
inline bool ReadBytes(const Napi::Value &value, Bytes *out)
{
	if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
		return false;
	Napi::Uint8Array array = value.As<Napi::Uint8Array>();
	out->data = array.Data();
	out->size = array.ByteLength();
	return true;
}

inline std::string ReadString(const Napi::Value &value)
{
	return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

// -1, which every syscall refuses with EBADF, when it is not a number.
inline int ReadFd(const Napi::Value &value)
{
	return value.IsNumber() ? value.As<Napi::Number>().Int32Value() : -1;
}

inline uint32_t ReadUint32(const Napi::Value &value)
{
	return value.IsNumber() ? value.As<Napi::Number>().Uint32Value() : 0;
}

inline uint64_t ReadUint64(const Napi::Value &value)
{
	bool lossless;
	return value.IsBigInt() ? value.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
}

// Every function answers failure with a negative errno; native/error.ts makes an exception with words out of
// it.
inline Napi::Value Status(Napi::Env env, int status)
{
	return Napi::Number::New(env, status);
}

inline Napi::Value CopyBytes(Napi::Env env, const void *data, size_t size)
{
	Napi::Uint8Array array = Napi::Uint8Array::New(env, size);
	if (size && array.Data())
		memcpy(array.Data(), data, size);
	return array;
}

// False while the environment ends: Node still empties the queues of calls to JS then, but JS runs no more.
inline bool CanRunJs(napi_env env)
{
	void *data;
	napi_value probe;
	return env != nullptr && napi_create_arraybuffer(env, 0, &data, &probe) == napi_ok;
}

inline void Export(Napi::Env env, Napi::Object exports, const char *name,
		   Napi::Value (*function)(const Napi::CallbackInfo &))
{
	exports.Set(name, Napi::Function::New(env, function, name));
}
