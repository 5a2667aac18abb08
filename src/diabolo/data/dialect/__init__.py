"""How tables are written as text: separators, headers, marks, and the forms of numbers, dates and truth values.

From a file to columns, each step in one module:

1. `record` has what is known: `Asked`, the person's options, and `Dialect`, what a sample says or a model keeps.
2. `layout` takes the first lines: encoding, separator, quotes, lines that are no rows, header or names.
3. `columns` takes the first block as text: the form of each column, marks for missing cells, an index, and questions:
   a sample with two readings is never guessed at.
4. `forms` turns text into numbers, truth values, dates and times of day, and back; `dates` knows the patterns.
5. `finding` puts 2 and 3 together and keeps the answer while the file is the same. PyArrow reads the file by it.

What a person asks for wins over what a model keeps, and that over what a sample says.
"""
