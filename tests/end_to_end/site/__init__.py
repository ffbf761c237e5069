"""The sample site with two consumers more, which tell the tests what happened to them."""
