"""The bank's wire: generated from the .proto files beside it by tools/generate.sh."""
