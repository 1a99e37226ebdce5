"""Networks: tensors in, tensors out; they know neither frames nor rigs nor devices."""
