/* Strings in, answers out, by an export and the TensorFlow libraries alone: no Python, and XLA off, as in the stock server.

   serve EXPORT INPUT[,INPUT] OUTPUT[,OUTPUT...] TEXT_OP_LIBRARY... -- STRING...
   INPUT and OUTPUT are the signature's tensors, as in "serving_default_prompt:0"; of two inputs, strings come in turn. Of each
   output every element is written: a string as its size, a line break and its bytes, a number and a line break. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

#define MOST 8

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

/* "a:0,b:0" -> the graph's tensors; how many. */
static int tensors_of(TF_Graph *graph, char *names, TF_Output *outputs, int most) {
  int count = 0;
  for (char *name = strtok(names, ","); name != NULL && count < most; name = strtok(NULL, ","))
    outputs[count++] = tensor_of(graph, name);
  return count;
}

/* Every `step`th string, from the first on: string [rows]. */
static TF_Tensor *strings_of(char **strings, int64_t rows, int step) {
  TF_Tensor *tensor = TF_AllocateTensor(TF_STRING, &rows, 1, rows * sizeof(TF_TString));
  TF_TString *values = TF_TensorData(tensor);
  for (int64_t i = 0; i < rows; i++) {
    TF_TString_Init(&values[i]);
    TF_TString_Copy(&values[i], strings[i * step], strlen(strings[i * step]));
  }
  return tensor;
}

static void print(TF_Tensor *tensor) {
  void *data = TF_TensorData(tensor);
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) {
    if (TF_TensorType(tensor) == TF_FLOAT) printf("%.9g\n", ((float *)data)[i]);
    if (TF_TensorType(tensor) == TF_INT32) printf("%d\n", ((int *)data)[i]);
    if (TF_TensorType(tensor) != TF_STRING) continue;
    TF_TString *string = (TF_TString *)data + i;
    printf("%zu\n", TF_TString_GetSize(string));
    fwrite(TF_TString_GetDataPointer(string), 1, TF_TString_GetSize(string), stdout);
  }
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
  char **strings = argv + at + 1;

  const char *tags[] = {"serve"};
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  demand(status, argv[1]);

  TF_Output inputs[MOST], outputs[MOST];
  TF_Tensor *given[MOST], *answers[MOST];
  int in = tensors_of(graph, argv[2], inputs, MOST), out = tensors_of(graph, argv[3], outputs, MOST);
  if (in == 0 || (argc - at - 1) % in != 0) return 2;
  for (int i = 0; i < in; i++) given[i] = strings_of(strings + i, (argc - at - 1) / in, in);
  TF_SessionRun(session, NULL, inputs, given, in, outputs, answers, out, NULL, 0, NULL, status);
  demand(status, "run");

  for (int i = 0; i < out; i++) print(answers[i]);
  for (int i = 0; i < in; i++) TF_DeleteTensor(given[i]);
  for (int i = 0; i < out; i++) TF_DeleteTensor(answers[i]);
  TF_CloseSession(session, status);
  demand(status, "close");
  return 0;
}
