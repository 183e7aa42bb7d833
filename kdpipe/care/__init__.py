"""Care of the teacher cache: what it holds, whether it is whole and right, how it is mended, packed and carried."""
