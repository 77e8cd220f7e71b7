/* Strings in, a string a row out, by an export and the TensorFlow libraries alone: no Python, and XLA off, as in the stock server.

   serve EXPORT INPUT OUTPUT TEXT_OP_LIBRARY... -- PROMPT...
   INPUT and OUTPUT are the signature's tensors, as in "serving_default_prompt:0". Each answer is written as its size, a line
   break and its bytes. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void demand(TF_Status *status, const char *what) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: %s\n", what, TF_Message(status));
  exit(1);
}

/* "name:index" -> the graph's tensor. */
static TF_Output tensor_of(TF_Graph *graph, const char *name) {
  char operation[256];
  const char *colon = strrchr(name, ':');
  if (colon == NULL || colon - name >= (long)sizeof operation) exit(2);
  snprintf(operation, sizeof operation, "%.*s", (int)(colon - name), name);
  TF_Output output = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  if (output.oper == NULL) {
    fprintf(stderr, "the graph has no %s\n", operation);
    exit(1);
  }
  return output;
}

int main(int argc, char **argv) {
  if (argc < 6) return 2;
  /* What tensorflow_serving/model_servers/main.cc calls first. */
  void (*disable_xla)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "_ZN10tensorflow21DisableXlaCompilationEv");
  if (disable_xla == NULL) {
    fprintf(stderr, "tensorflow::DisableXlaCompilation was not found\n");
    return 1;
  }
  disable_xla();

  TF_Status *status = TF_NewStatus();
  int at = 4;
  for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
    TF_LoadLibrary(argv[at], status);
    demand(status, argv[at]);
  }
  char **prompts = argv + at + 1;
  int64_t rows = argc - at - 1;

  const char *tags[] = {"serve"};
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  demand(status, argv[1]);

  TF_Tensor *prompt = TF_AllocateTensor(TF_STRING, &rows, 1, rows * sizeof(TF_TString));
  TF_TString *strings = TF_TensorData(prompt);
  for (int64_t i = 0; i < rows; i++) {
    TF_TString_Init(&strings[i]);
    TF_TString_Copy(&strings[i], prompts[i], strlen(prompts[i]));
  }
  TF_Output input = tensor_of(graph, argv[2]), output = tensor_of(graph, argv[3]);
  TF_Tensor *answer = NULL;
  TF_SessionRun(session, NULL, &input, &prompt, 1, &output, &answer, 1, NULL, 0, NULL, status);
  demand(status, "run");

  strings = TF_TensorData(answer);
  for (int64_t i = 0; i < TF_TensorElementCount(answer); i++) {
    printf("%zu\n", TF_TString_GetSize(&strings[i]));
    fwrite(TF_TString_GetDataPointer(&strings[i]), 1, TF_TString_GetSize(&strings[i]), stdout);
  }
  TF_DeleteTensor(prompt);
  TF_DeleteTensor(answer);
  TF_CloseSession(session, status);
  demand(status, "close");
  return 0;
}
