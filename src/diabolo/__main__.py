from diabolo.cli import main

main()
