// SPDX-License-Identifier: Apache-2.0
// One Register function per noun; each adds the functions of its file to the addon's exports.
#pragma once

#include <napi.h>

void RegisterObject(Napi::Env env, Napi::Object exports);
void RegisterPin(Napi::Env env, Napi::Object exports);
void RegisterMap(Napi::Env env, Napi::Object exports);
void RegisterMapBatch(Napi::Env env, Napi::Object exports);
void RegisterProgram(Napi::Env env, Napi::Object exports);
void RegisterTcx(Napi::Env env, Napi::Object exports);
void RegisterLink(Napi::Env env, Napi::Object exports);
void RegisterExchange(Napi::Env env, Napi::Object exports);
void RegisterRing(Napi::Env env, Napi::Object exports);
void RegisterSweep(Napi::Env env, Napi::Object exports);
void RegisterProbe(Napi::Env env, Napi::Object exports);
