"""Generated messages and stubs of the products that other messages carry."""
